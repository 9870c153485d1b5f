"""Change the manifest of an existing bundle, and regenerate its model card."""

from collections.abc import Callable, Mapping

from models.bundle import Bundle
from models.manifest import Manifest
from models.update import Revision, update_bundle
from training.bundles.model_card import is_generated, model_card
from training.errors import TrainingError

__all__ = ["revise_bundle"]

_NETWORK_FILES = ("model.onnx", "head.safetensors")


def revise_bundle(
    scored: Bundle, change: Callable[[Manifest], Manifest], card_files: Mapping[str, bytes] | None = None
) -> tuple[Bundle, bool]:
    """Write a changed manifest into the bundle, and regenerate its card if the card was generated.

    A card that was written or edited by hand is left alone, and so are the files it shows.

    Args:
        scored: the bundle as it was when its figures were computed.
        change: takes the current manifest and returns the new one.
        card_files: file name -> content of the pictures that the generated card shows.

    Returns:
        The revised bundle, and whether its card was regenerated.

    Raises:
        TrainingError: the network was replaced after it was scored.
        models.errors.BundleError: the bundle cannot be written.

    """
    regenerated = False

    def revise(bundle: Bundle) -> Revision:
        nonlocal regenerated
        current = bundle.manifest
        if any(current.sha256[name] != scored.manifest.sha256[name] for name in _NETWORK_FILES):
            raise TrainingError(f"{bundle.path}: the network was replaced while it was being scored; start again")
        changed = change(current)
        regenerated = is_generated((bundle.folder / "README.md").read_bytes(), current)
        if not regenerated:
            return Revision(changed)
        return Revision(changed, model_card(changed), card_files or {})

    return update_bundle(scored.path, revise), regenerated
