"""How the service answers the errors of `models` that a request can cause, and exceptions that it does not know."""

from typing import NamedTuple

from models.errors import ImageTooLargeError, InfeasibleError, TuningError, UnreadableImageError, UnsupportedImageError

__all__ = ["INTERNAL_ERROR", "MODEL_ERRORS", "ModelError"]


class ModelError(NamedTuple):
    """How the service answers an error of `models`: HTTP status, code, and a sentence that says when it happens."""

    status: int
    code: str
    when: str


MODEL_ERRORS: dict[type[Exception], ModelError] = {
    ImageTooLargeError: ModelError(
        413, "image_too_large", "A picture has more than `max_pixels`; it is refused before it is decoded."
    ),
    UnsupportedImageError: ModelError(415, "unsupported_image", "A picture is not JPEG, PNG or WebP."),
    UnreadableImageError: ModelError(422, "unreadable_image", "A picture is truncated or damaged, or not a picture."),
    TuningError: ModelError(
        422, "cannot_tune", "The objective or a constraint is unknown, or there are no labels to choose alpha on."
    ),
    InfeasibleError: ModelError(
        422, "infeasible", "No alpha meets the constraints; the message says what each of them could reach."
    ),
}
INTERNAL_ERROR = ModelError(
    500, "internal_error", "The server has a bug; its log has the details under the request id."
)
