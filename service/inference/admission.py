"""How much may be accepted and not answered yet, in pictures and in bytes of bodies: beyond that requests are refused.

A picture takes its place when its request has arrived, so that nobody holds places by sending slowly. What has come
until then takes room in memory, which is counted as it comes; so does an answer that is not taken.
"""

from starlette.types import Scope

from service.errors import OverloadedError
from service.metrics import Metrics

__all__ = ["Admission", "BodyBudget", "Places"]


class Places:
    """Places for a request's pictures, held from `with` to its end. A generator would cost three times as much."""

    __slots__ = ("_admission", "_images")

    def __init__(self, admission: "Admission", images: int) -> None:
        self._admission = admission
        self._images = images

    def __enter__(self) -> None:
        self._admission.hold(self._images)

    def __exit__(self, *_: object) -> None:
        self._admission.hold(-self._images)


class Admission:
    """Counts places; on the event loop only.

    Args:
        most: how many there are.
        metrics: where those that are held are shown.

    """

    def __init__(self, most: int, metrics: Metrics) -> None:
        self._most = most
        self._metrics = metrics
        metrics.pending_images_limit.set(most)
        self.held = 0

    def places(self, images: int) -> Places:
        """Return so many places.

        Raises:
            OverloadedError: there are not that many left.

        """
        if self.held + images > self._most:
            raise OverloadedError(
                f"{self.held} images are waiting and {self._most} may; try again in a second, or send fewer"
            )
        return Places(self, images)

    def check(self) -> None:
        """Return where a place is left at present; not worth reading a request for otherwise.

        Raises:
            OverloadedError: there is none.

        """
        if self.held >= self._most:
            self.places(1)

    def hold(self, images: int) -> None:
        """Take so many places, or give them back where it is fewer than none."""
        self.held += images
        self._metrics.pending_images.set(self.held)


class BodyBudget:
    """Counts the bytes of requests' bodies, and of answers until they are taken; on the event loop only.

    Args:
        most_mb: how many there may be, in megabytes (10^6 bytes).

    Attributes:
        held: how many there are; whoever looks after the connections shows them in the metrics now and then.

    """

    _HELD = "longtail.body_bytes"  # where a request's scope has how many are its

    def __init__(self, most_mb: float) -> None:
        self._most_mb = most_mb
        self.held = 0

    def take(self, scope: Scope, size: int) -> None:
        """Take room for so many bytes of a request.

        Raises:
            OverloadedError: there is not that much left.

        """
        if self.held + size > self._most_mb * 1e6:
            raise OverloadedError(
                f"{self.held / 1e6:.0f} MB of requests are in memory and {self._most_mb:g} may; try again in a second"
            )
        scope[self._HELD] = scope.get(self._HELD, 0) + size
        self.held += size

    def give_back(self, scope: Scope) -> None:
        """Give back what a request took; it has been answered, or is gone."""
        self.held -= scope.pop(self._HELD, 0)
