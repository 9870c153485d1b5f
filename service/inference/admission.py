"""How much work the server accepts before it has answered it, in pictures and in bytes; it refuses more.

A picture takes a slot only when its request has arrived, so a client cannot hold slots by sending slowly. Until then
its bytes count against the body budget as they arrive. So does an answer that the client has not read yet.
"""

from starlette.types import Scope

from service.errors import OverloadedError
from service.metrics import Metrics

__all__ = ["Admission", "AdmissionSlots", "BodyBudget"]


class AdmissionSlots:
    """Slots for a request's pictures, held inside `with`. A generator would cost three times as much."""

    __slots__ = ("_admission", "_images")

    def __init__(self, admission: "Admission", images: int) -> None:
        self._admission = admission
        self._images = images

    def __enter__(self) -> None:
        self._admission.add(self._images)

    def __exit__(self, *_: object) -> None:
        self._admission.add(-self._images)


class Admission:
    """The number of pictures in the server; for the event loop only.

    Args:
        max_images: maximum number of pictures that are accepted and not answered yet.
        metrics: shows the number and its maximum.

    Attributes:
        pending_images: how many pictures are accepted and not answered yet.

    """

    def __init__(self, max_images: int, metrics: Metrics) -> None:
        self._max_images = max_images
        self._metrics = metrics
        metrics.pending_images_limit.set(max_images)
        self.pending_images = 0

    def slots(self, images: int) -> AdmissionSlots:
        """Return slots for this many pictures.

        Raises:
            OverloadedError: fewer slots are free.

        """
        if self.pending_images + images > self._max_images:
            raise OverloadedError(
                f"{self.pending_images} of at most {self._max_images} images are pending; "
                "try again in a second, or send fewer"
            )
        return AdmissionSlots(self, images)

    def check(self) -> None:
        """Check that at least one slot is free, before the server reads a request's body.

        Raises:
            OverloadedError: no slot is free.

        """
        if self.pending_images >= self._max_images:
            self.slots(1)

    def add(self, images: int) -> None:
        """Add to the number of pending pictures; a negative number gives slots back."""
        self.pending_images += images
        self._metrics.pending_images.set(self.pending_images)


class BodyBudget:
    """The bytes of request bodies in memory, and of answers until the client has read them; for the event loop only.

    Args:
        max_mb: maximum number of megabytes (10^6 bytes).

    Attributes:
        held_bytes: how many bytes are in memory. `SlowClients` copies it to the metrics.

    """

    _HELD = "longtail.body_bytes"  # the key in a request's scope under which its share is kept

    def __init__(self, max_mb: float) -> None:
        self._max_mb = max_mb
        self.held_bytes = 0

    def take(self, scope: Scope, size: int) -> None:
        """Take this many bytes for a request.

        Raises:
            OverloadedError: fewer bytes are free.

        """
        if self.held_bytes + size > self._max_mb * 1e6:
            raise OverloadedError(
                f"{self.held_bytes / 1e6:.0f} MB of requests are in memory, of at most {self._max_mb:g}; "
                "try again in a second"
            )
        scope[self._HELD] = scope.get(self._HELD, 0) + size
        self.held_bytes += size

    def give_back(self, scope: Scope) -> None:
        """Give back what a request took, once it is answered or its client has disconnected."""
        self.held_bytes -= scope.pop(self._HELD, 0)
