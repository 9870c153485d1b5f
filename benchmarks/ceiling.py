"""What the machine can do at all, measured around everything else: decode and run in a plain loop, without a server.

Two callers, each with one thread of ONNX Runtime, on the file that every server loads, decoding with the project's own
`decode_image`; at batch 1 and at batch 8, of which the better counts. A rate divided by the ceiling measured right
before and after it can be compared with another such ratio, though the machine changed its speed between the two.
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
    """A model and a picture in this process.

    Args:
        bundle: NAME/VERSION.
        picture: an encoded one.

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
        """Index of the class that a server has to put first at alpha = 1."""
        logits, cosine = self._session.run(["logits", "head_cosine"], {"images": self._pixels[None]})
        return int(tde.tde_logits(logits, cosine, self._bundle.class_effect, 1.0).argmax())

    def measure(self, seconds: float) -> dict[str, float]:
        """Images/s with decoding (`ceiling`), at which batch, and without (`network`); `seconds` for each of three."""
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
