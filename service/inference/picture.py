"""One picture on its way through the worker, and how its bytes become pixels, in whichever thread that is."""

import logging
import time
from dataclasses import dataclass

import numpy as np

from engines.base import Pixels
from models.errors import ImageError, ImageTooLargeError
from models.preprocess import decode_image
from service.errors import InferenceError
from service.inference.cache import Key
from service.inference.queries import Waiter
from service.inference.registry import ServedModel

__all__ = ["NOTHING", "Picture", "decode", "decode_if_small"]

log = logging.getLogger("longtail.worker")
NOTHING: Pixels = np.empty((0, 0, 3), np.uint8)
# decoded in about 0.1 ms
SMALL_BYTES = 16_384
SMALL_PIXELS = 4096


@dataclass(slots=True, eq=False)
class Picture:
    """A picture on its way: encoded in `data`, then in `pixels`; `key` where its numbers will be kept."""

    served: ServedModel
    data: bytes
    pixels: Pixels
    key: Key | None
    waiters: list[Waiter]
    since_ns: int
    decode_ns: int = 0
    ticket: int = 0


def decode(picture: Picture, max_pixels: int) -> None:
    """Turn a picture's bytes into pixels.

    Raises:
        models.errors.ImageError: what it is told of them.
        InferenceError: they fail for a reason that we do not know; the log has it.

    """
    started = time.perf_counter_ns()
    try:
        picture.pixels = decode_image(picture.data, picture.served.bundle.manifest.input, max_pixels=max_pixels)
    except ImageError:
        raise
    except Exception as error:
        log.exception("a picture for %s cannot be decoded, and not for a reason we know", picture.served.name)
        raise InferenceError(
            "the picture could not be decoded; the server's log has it under this request id"
        ) from error
    picture.data = b""
    picture.decode_ns = time.perf_counter_ns() - started


def decode_if_small(picture: Picture, max_pixels: int) -> bool:
    """Decode a small picture where it is, as handing it over would take longer; False where it is not small.

    Raises:
        models.errors.ImageError, InferenceError: as of `decode`.

    """
    limit = min(SMALL_PIXELS, max_pixels)
    if len(picture.data) > SMALL_BYTES or picture.served.bundle.manifest.input.resize**2 > limit:
        return False
    try:
        decode(picture, limit)
    except ImageTooLargeError:
        return False
    return True
