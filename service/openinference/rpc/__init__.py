"""The Open Inference Protocol over gRPC, with the same answers as over REST; grpcio is imported only if used."""
