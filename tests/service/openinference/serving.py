"""A server for the tests of the Open Inference Protocol, and the answers that its model must give."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import tritonclient.http as triton
from numpy.typing import NDArray
from PIL import Image

from models import tde
from models.bundle import load_bundle
from tests.service.server.test_process import server
from tests.tiny_bundle import TinyModel, write_tiny_bundle

INFER = "/v2/models/tiny/infer"
HEADER = "Inference-Header-Content-Length"
OUTPUTS = ["logits", "head_cosine", "tde_logits", "probabilities"]
TOLERANCE = 1e-4  # between the graph in float32 and the same in numpy
BALANCED = 1.5  # alpha of the tiny bundles


@contextmanager
def serving(root: Path, *flags: str) -> Iterator[str]:
    """Run a real server with the models `tiny` and `exempt`, whose first class is exempt; yield its host and port."""
    bundle = load_bundle(write_tiny_bundle(root))
    write_tiny_bundle(root, "exempt", exempt_class=0)
    with server(bundle, *flags) as (_, url):
        yield url.removeprefix("http://")


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """(count, 8, 8, 3) random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """One encoded picture."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def expected(images: NDArray[np.uint8], alphas: float | Sequence[float] = BALANCED) -> dict[str, NDArray[Any]]:
    """The outputs of `tiny`, computed in numpy."""
    model = TinyModel()
    logits = model.logits(images)
    cosine = model.head_cosine(images)
    shifted = tde.tde_logits(logits, cosine, model.class_effect, np.broadcast_to(alphas, len(images)))
    values = (logits, cosine, shifted, tde.softmax(shifted))
    return dict(zip(OUTPUTS, values, strict=True))


def tensor(name: str, values: NDArray[Any], *, binary: bool = True) -> triton.InferInput:
    """An input as Triton's client sends it."""
    datatypes = {"images": "UINT8", "encoded": "BYTES", "alpha": "FP32"}
    made = triton.InferInput(name, list(values.shape), datatypes[name])
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def files(images: NDArray[np.uint8]) -> NDArray[np.object_]:
    """The encoded pictures, as elements of BYTES."""
    return np.array([png(each) for each in images], np.object_)


def body(*inputs: dict[str, Any], **fields: Any) -> bytes:
    """A request in JSON."""
    return orjson.dumps({"inputs": list(inputs), **fields}, option=orjson.OPT_SERIALIZE_NUMPY)


def as_json(images: NDArray[np.uint8], **changes: Any) -> dict[str, Any]:
    """`images` in JSON."""
    shape = list(images.shape)
    return {"name": "images", "datatype": "UINT8", "shape": shape, "data": images.ravel().tolist()} | changes
