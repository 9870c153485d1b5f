"""The work that all peers share, so that only the serving differs: decode, run the graph, TDE, top 5.

It is ordinary code with Pillow, ONNX Runtime and numpy. It imports nothing from the project, because a peer's
environment does not hold the project. PEER_BUNDLE is the bundle's folder; PEER_THREADS is ONNX Runtime's thread count
(0 leaves its default).
"""

import io
import json
import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image
from safetensors.numpy import load_file

__all__ = ["ALPHA", "TOP_K", "Classifier"]

ALPHA = 1.0
TOP_K = 5


class Classifier:
    """A bundle's graph in an ONNX Runtime session, with the TDE arithmetic.

    Args:
        threads: ONNX Runtime's thread count if PEER_THREADS is not set.

    """

    def __init__(self, threads: int = 1) -> None:
        bundle = Path(os.environ["PEER_BUNDLE"])
        manifest = json.loads((bundle / "manifest.json").read_text())
        self.names = [info["name"] for info in manifest["classes"]]
        self.resize = manifest["input"]["resize"]
        self.side = manifest["input"]["height"]
        self.class_effect = load_file(bundle / "head.safetensors")["class_effect"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("PEER_THREADS", threads))
        self.session = ort.InferenceSession(bundle / "model.onnx", options, providers=["CPUExecutionProvider"])

    def decode(self, picture: bytes | Image.Image) -> np.ndarray:
        """Return (H, W, 3) uint8 of an encoded or opened picture: resize its shorter side, then crop the centre."""
        image = picture if isinstance(picture, Image.Image) else Image.open(io.BytesIO(picture))
        image = image.convert("RGB")
        width, height = image.size
        scale = self.resize / min(width, height)
        size = max(self.resize, int(width * scale)), max(self.resize, int(height * scale))
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        left = round((size[0] - self.side) / 2)
        top = round((size[1] - self.side) / 2)
        return np.asarray(image.crop((left, top, left + self.side, top + self.side)))

    def classify(self, pixels: list[np.ndarray]) -> list[dict]:
        """Return the most probable classes at alpha = 1 for each of several images of one size."""
        logits, head_cosine = self.session.run(["logits", "head_cosine"], {"images": np.stack(pixels)})
        logits = logits - ALPHA * head_cosine @ self.class_effect
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = powers / powers.sum(axis=1, keepdims=True)
        best = np.argsort(-probabilities, axis=1)[:, :TOP_K]
        return [
            {
                "classes": [
                    {"index": int(index), "name": self.names[index], "probability": float(row[index])}
                    for index in order
                ]
            }
            for row, order in zip(probabilities, best, strict=True)
        ]

    def answer(self, pictures: list[bytes | Image.Image]) -> list[dict]:
        """Decode and classify pictures as one batch."""
        return self.classify([self.decode(picture) for picture in pictures])
