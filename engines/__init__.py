"""What computes: one small protocol, ONNX Runtime and OpenVINO behind it, and a fake that is exact and instant."""
