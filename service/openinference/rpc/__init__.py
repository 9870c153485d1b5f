"""The Open Inference Protocol over gRPC, with the same answers as over REST; only `server.py` imports grpcio."""
