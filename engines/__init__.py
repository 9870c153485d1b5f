"""Engines, which run networks: one interface, implemented with ONNX Runtime, with OpenVINO and by a fake for tests."""
