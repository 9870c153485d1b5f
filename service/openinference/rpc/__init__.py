"""The Open Inference Protocol over gRPC: the same answers as over REST. Only `server.py` imports grpcio."""
