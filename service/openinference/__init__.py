"""The Open Inference Protocol (KServe V2) with Triton's extensions: what their clients send, and what they expect."""
