"""How pictures reach the network, and which alpha the authors take, by data set, as their code and configuration say.

Source: their data/dataloader.py and data/ImbalanceCIFAR.py (test transforms), config/*/causal_norm*.yaml (alpha).
"""

from dataclasses import dataclass, replace

from models.manifest import ImageRecipe
from training.errors import RecipeError

__all__ = ["PRESETS", "Preset", "image_recipe_for", "preset_for"]


@dataclass(frozen=True)
class Preset:
    """A data set's pictures as tested on, its number of classes, and the authors' alpha for it."""

    name: str
    num_classes: int
    pictures: ImageRecipe
    alpha: float


_CIFAR = ImageRecipe(32, 32, 32, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_IMAGENET = ImageRecipe(224, 224, 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_INATURALIST = ImageRecipe(224, 224, 256, (0.466, 0.471, 0.380), (0.195, 0.194, 0.192))

PRESETS = {
    preset.name: preset
    for preset in (
        Preset("cifar10", 10, _CIFAR, 1.0),
        Preset("cifar100", 100, _CIFAR, 1.5),
        Preset("imagenet", 1000, _IMAGENET, 3.0),
        Preset("places", 365, _IMAGENET, 3.0),
        Preset("inaturalist18", 8142, _INATURALIST, 3.0),  # no configuration of theirs: the default of their classifier
    )
}
_POOLED = 7  # x 7 positions, which their ResNets average; a picture of 193 to 224 pixels has that many
_STRIDE = 32


def preset_for(num_classes: int, name: str | None = None) -> Preset:
    """Return the preset of that name, or the one whose data set has as many classes.

    Raises:
        RecipeError: no data set of the authors has as many.

    """
    if name is not None:
        return PRESETS[name]
    for preset in PRESETS.values():
        if preset.num_classes == num_classes:
            return preset
    known = ", ".join(f"{preset.name} ({preset.num_classes})" for preset in PRESETS.values())
    raise RecipeError(
        f"no data set of the authors has {num_classes} classes, so how its pictures are normalised is not known; say "
        f"whose pictures are treated alike, --preset: {known}; where they differ, add --mean, --std, --size, --resize"
    )


def image_recipe_for(network: str, preset: Preset, size: int | None = None, resize: int | None = None) -> ImageRecipe:
    """Return the preset's pictures for this network, in another size where asked for.

    The authors' larger networks average 7 x 7 positions, so they take CIFAR's pictures enlarged to 224 pixels.

    Raises:
        RecipeError: a size at which the network would not have run in the authors' code.

    """
    pictures = preset.pictures
    small = network == "cifar_resnet32"
    if not small and pictures.height < _STRIDE * _POOLED:
        pictures = replace(pictures, height=224, width=224, resize=224)
    if size is not None:
        pictures = replace(pictures, height=size, width=size, resize=max(size, pictures.resize))
    if resize is not None:
        pictures = replace(pictures, resize=resize)
    if pictures.height < 1 or (small and pictures.height % 4):
        raise RecipeError(f"--size {pictures.height}: {network} takes sizes that 4 divides")
    if not small and -(-pictures.height // _STRIDE) != _POOLED:
        raise RecipeError(
            f"--size {pictures.height}: the authors' {network} averages {_POOLED} x {_POOLED} positions, those of "
            f"pictures of {_STRIDE * (_POOLED - 1) + 1} to {_STRIDE * _POOLED} pixels"
        )
    return pictures
