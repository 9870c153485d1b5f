"""One picture on its way through the worker, and how it is decoded, in whichever thread that happens."""

import logging
import time
from dataclasses import dataclass

import numpy as np

from engines.base import Pixels
from models.errors import ImageError, ImageTooLargeError
from models.preprocess import decode_image
from service.errors import InferenceError
from service.inference.cache import CacheKey
from service.inference.queries import Waiter
from service.inference.registry import ServedModel

__all__ = ["NO_PIXELS", "SEE_LOG", "Picture", "decode", "decode_if_small"]

log = logging.getLogger("longtail.worker")
NO_PIXELS: Pixels = np.empty((0, 0, 3), np.uint8)
SEE_LOG = "the server's log has the details under this request id"
# A picture within both limits is decoded in about 0.1 ms.
SMALL_BYTES = 16_384
SMALL_PIXELS = 4096


@dataclass(slots=True, eq=False)
class Picture:
    """A picture that waits to be decoded or computed.

    Args:
        served: the model that it is for.
        data: the encoded bytes; empty once they are decoded.
        pixels: (H, W, 3) once it is decoded.
        key: where the cache will keep its network output, or None if it is not kept.
        waiters: the requests that wait for it.
        queued_ns: when it was queued, on the clock of `time.perf_counter_ns`.
        decode_ns: how long decoding took.
        ticket: its ticket in the queue.

    """

    served: ServedModel
    data: bytes
    pixels: Pixels
    key: CacheKey | None
    waiters: list[Waiter]
    queued_ns: int
    decode_ns: int = 0
    ticket: int = 0


def decode(picture: Picture, max_pixels: int) -> None:
    """Decode a picture's bytes into pixels.

    Raises:
        models.errors.ImageError: the bytes are not a usable image.
        InferenceError: decoding failed for an unexpected reason, which is logged.

    """
    started_ns = time.perf_counter_ns()
    try:
        picture.pixels = decode_image(picture.data, picture.served.bundle.manifest.input, max_pixels=max_pixels)
    except ImageError:
        raise
    except Exception as error:
        log.exception("unexpected error while decoding a picture for model %s", picture.served.name)
        raise InferenceError(f"the picture could not be decoded; {SEE_LOG}") from error
    picture.data = b""
    picture.decode_ns = time.perf_counter_ns() - started_ns


def decode_if_small(picture: Picture, max_pixels: int) -> bool:
    """Decode a small picture in the calling thread, since handing it to another would take longer.

    Returns:
        Whether the picture was small, and is decoded now.

    Raises:
        models.errors.ImageError, InferenceError: see `decode`.

    """
    limit = min(SMALL_PIXELS, max_pixels)
    if len(picture.data) > SMALL_BYTES or picture.served.bundle.manifest.input.resize**2 > limit:
        return False
    try:
        decode(picture, limit)
    except ImageTooLargeError:
        return False
    return True
