"""The ceiling: images/s of decoding and running the network in a plain loop, without a server.

Two callers, each with one thread of ONNX Runtime, load the same file as every server and decode with the project's
`decode_image`, at batch 1 and at batch 8; the faster counts. A rate divided by the ceiling measured right before and
after it is comparable with other such ratios, even if the machine's speed changes in between.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort

from models import tde
from models.bundle import load_bundle
from models.preprocess import decode_image

__all__ = ["Ceiling"]

CALLERS = 2
BATCHES = (1, 8)


class Ceiling:
    """The ceiling of one model and one picture, measured in this process.

    Args:
        bundle: NAME/VERSION.
        picture: the encoded picture.

    """

    def __init__(self, bundle: Path, picture: bytes) -> None:
        self._bundle = load_bundle(bundle)
        self._picture = picture
        self._recipe = self._bundle.manifest.input
        self._pixels = decode_image(picture, self._recipe)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(self._bundle.model_path, options, providers=["CPUExecutionProvider"])
        self.measure(0.2)

    def top(self) -> int:
        """Return the index of the class that a server must rank first at alpha = 1."""
        logits, cosine = self._session.run(["logits", "head_cosine"], {"images": self._pixels[None]})
        return int(tde.tde_logits(logits, cosine, self._bundle.class_effect, 1.0).argmax())

    def measure(self, seconds: float) -> dict[str, float]:
        """Return images/s with decoding (`ceiling`, at `batch`) and without (`network`).

        Each of the three measurements takes `seconds`.
        """
        rates = {batch: self._rate(batch, seconds, decode=True) for batch in BATCHES}
        batch = max(rates, key=rates.__getitem__)
        return {"ceiling": rates[batch], "batch": batch, "network": self._rate(batch, seconds, decode=False)}

    def _rate(self, batch: int, seconds: float, *, decode: bool) -> float:
        until = time.perf_counter() + seconds

        def call(_: int) -> float:
            images = [self._pixels] * batch
            done = 0
            started = time.perf_counter()
            while time.perf_counter() < until:
                if decode:
                    images = [decode_image(self._picture, self._recipe) for _ in range(batch)]
                self._session.run(None, {"images": np.stack(images)})
                done += batch
            return done / (time.perf_counter() - started)

        with ThreadPoolExecutor(CALLERS) as pool:
            return sum(pool.map(call, range(CALLERS)))
