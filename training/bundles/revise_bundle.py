"""What a command changes in a bundle that exists, its generated card included."""

from collections.abc import Callable, Mapping

from models.bundle import Bundle
from models.manifest import Manifest
from models.update import Revision, update_bundle
from training.bundles.model_card import is_generated, model_card
from training.errors import TrainingError

__all__ = ["revise_bundle"]

_NETWORK = ("model.onnx", "head.safetensors")


def revise_bundle(
    scored: Bundle, change: Callable[[Manifest], Manifest], card_files: Mapping[str, bytes] | None = None
) -> tuple[Bundle, bool]:
    """Write a changed manifest into the bundle, and the card anew where it is the one we generate.

    A card somebody wrote or edited is theirs, and so are its pictures.

    Args:
        scored: the bundle as it was when its figures were computed.
        change: the manifest as it is now -> what it shall be.
        card_files: pictures the generated card shows.

    Returns:
        The bundle that lies there now; whether its card was written anew.

    Raises:
        TrainingError: another network lies there by now.
        models.errors.BundleError: it cannot be written.

    """
    refreshed = False

    def revise(bundle: Bundle) -> Revision:
        nonlocal refreshed
        now = bundle.manifest
        then = scored.manifest
        if any(now.sha256[name] != then.sha256[name] for name in _NETWORK):
            raise TrainingError(f"{bundle.path}: another network came there while this one was scored; start again")
        changed = change(now)
        refreshed = is_generated((bundle.path / "README.md").read_bytes(), now)
        if not refreshed:
            return Revision(changed)
        return Revision(changed, model_card(changed), card_files or {})

    return update_bundle(scored.path, revise), refreshed
