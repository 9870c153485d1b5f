"""How many pictures may be accepted and not answered yet: beyond that a request is refused at once."""

from service.errors import OverloadedError
from service.metrics import Metrics

__all__ = ["Admission", "Places"]


class Places:
    """Places for a request's pictures, held from `with` to its end. A generator would cost three times as much."""

    __slots__ = ("_admission", "_images")

    def __init__(self, admission: "Admission", images: int) -> None:
        self._admission, self._images = admission, images

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
        self._most, self._metrics = most, metrics
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

    def hold(self, images: int) -> None:
        """Take so many places, or give them back where it is fewer than none."""
        self.held += images
        self._metrics.pending_images.set(self.held)
