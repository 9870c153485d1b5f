"""The authors' preprocessing and alpha for each data set.

Source: their data/dataloader.py and data/ImbalanceCIFAR.py (test transforms), config/*/causal_norm*.yaml (alpha).
"""

from dataclasses import dataclass, replace

from models.manifest import ImageRecipe
from training.errors import RecipeError

__all__ = ["PRESETS", "Preset", "image_recipe_for", "preset_for"]


@dataclass(frozen=True)
class Preset:
    """The settings of one data set.

    Attributes:
        name: of the data set.
        num_classes: of the data set.
        recipe: the preprocessing of its test recipe.
        alpha: the authors' alpha.

    """

    name: str
    num_classes: int
    recipe: ImageRecipe
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
        Preset("inaturalist18", 8142, _INATURALIST, 3.0),  # no configuration; the default of their classifier
    )
}
_POOLED = 7  # their ResNets average 7 x 7 positions, which images of 193 to 224 pixels have
_STRIDE = 32


def preset_for(num_classes: int, name: str | None = None) -> Preset:
    """Return the preset with this name, or the one with this number of classes.

    Raises:
        RecipeError: no data set of the authors has this number of classes.

    """
    if name is not None:
        return PRESETS[name]
    for preset in PRESETS.values():
        if preset.num_classes == num_classes:
            return preset
    known = ", ".join(f"{preset.name} ({preset.num_classes})" for preset in PRESETS.values())
    raise RecipeError(
        f"no data set of the authors has {num_classes} classes, so the preprocessing is unknown; choose one with "
        f"--preset: {known}; adjust it with --mean, --std, --size, --resize"
    )


def image_recipe_for(network: str, preset: Preset, size: int | None = None, resize: int | None = None) -> ImageRecipe:
    """Return the preprocessing of a preset for a network, with another size if given.

    The authors' larger networks average 7 x 7 positions, so CIFAR images are enlarged to 224 pixels for them.

    Raises:
        RecipeError: the network does not run at this size in the authors' code.

    """
    recipe = preset.recipe
    small = network == "cifar_resnet32"
    if not small and recipe.height < _STRIDE * _POOLED:
        recipe = replace(recipe, height=224, width=224, resize=224)
    if size is not None:
        recipe = replace(recipe, height=size, width=size, resize=max(size, recipe.resize))
    if resize is not None:
        recipe = replace(recipe, resize=resize)
    if recipe.height < 1 or (small and recipe.height % 4):
        raise RecipeError(f"--size {recipe.height}: the size for {network} must be a multiple of 4")
    if not small and -(-recipe.height // _STRIDE) != _POOLED:
        raise RecipeError(
            f"--size {recipe.height}: the authors' {network} averages {_POOLED} x {_POOLED} positions, so it takes "
            f"{_STRIDE * (_POOLED - 1) + 1} to {_STRIDE * _POOLED} pixels"
        )
    return recipe
