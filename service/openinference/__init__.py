"""The Open Inference Protocol (KServe V2) with Triton's extensions: its requests, tensors, metadata and answers."""
