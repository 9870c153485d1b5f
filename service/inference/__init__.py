"""Inference: pictures are admitted, queued, decoded, batched, computed and answered."""
