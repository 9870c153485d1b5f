"""Inference: the server admits, queues, decodes, batches, computes and answers pictures."""
