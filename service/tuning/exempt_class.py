"""The check that alpha can be chosen for a model."""

from service.errors import ExemptClassError
from service.inference.registry import ServedModel

__all__ = ["refuse_exempt"]


def refuse_exempt(served: ServedModel) -> None:
    """Refuse a model with an exempt class, whose probabilities have no exact path along alpha.

    Raises:
        ExemptClassError: the model has an exempt class.

    """
    manifest = served.bundle.manifest
    if manifest.exempt_class is not None:
        raise ExemptClassError(
            f"{manifest.name} exempts the class {manifest.classes[manifest.exempt_class].name!r} from alpha, so its "
            "scores are not affine in alpha; an exact path or an exact choice of alpha needs a model without an "
            "exempt class"
        )
