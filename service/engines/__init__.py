"""What computes: one small protocol, ONNX Runtime behind it, and a fake that is exact and instant."""
