"""Which pictures a pretrained backbone was trained to see: size, resize, mean and spread, as its publisher says.

torchvision and timm carry this beside each network. Resizing is always bilinear here, also for networks that were
published with bicubic: what is trained on these features and what is served see the same pixels, so nothing is lost in
between.
"""

import math
from pathlib import Path

import torchvision.models

from models.manifest import ImageRecipe
from training.model.networks import EFFICIENTNET_LITE0, TIMM, UNNAMED_RESNETS, backbone_names, build_backbone
from training.recipe.recipe import Recipe

__all__ = ["published_input"]

Triple = tuple[float, float, float]
_HALF: tuple[Triple, Triple] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_RESNETS = ImageRecipe(224, 224, 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # as torchvision's
_TRANSFORMED = ("googlenet", "inception_v3")  # torchvision turns ImageNet's normalisation into this inside the network


def published_input(name: str, weights: Path | None = None) -> ImageRecipe:
    """Return the recipe.

    Args:
        name: of a backbone, see `training.model.networks`.
        weights: the file; torchvision publishes several for one network, told apart by the file's name. Another name
            means the newest.

    Raises:
        RecipeError: no such backbone.

    """
    if name == "cifar_resnet32":
        return Recipe(name="cifar").image_recipe
    if name == EFFICIENTNET_LITE0:
        return ImageRecipe(224, 224, 256, *_HALF)  # as they were trained; the package's README says ImageNet's (LOG.md)
    if name.startswith(TIMM):
        return _of_timm(name)
    if name in UNNAMED_RESNETS:
        return _RESNETS
    if name not in backbone_names():
        build_backbone(name)  # says that it is unknown, and what there is
    entries = torchvision.models.get_model_weights(name)
    named = [entry for entry in entries if weights is not None and entry.url.rpartition("/")[2] == weights.name]
    chosen = (named or [entries.DEFAULT])[0].transforms()
    side = chosen.crop_size[0]
    resize = chosen.resize_size[0]
    mean, std = _HALF if name in _TRANSFORMED else (_three(chosen.mean), _three(chosen.std))
    return ImageRecipe(side, side, max(side, resize), mean, std)


def _of_timm(name: str) -> ImageRecipe:
    backbone, _ = build_backbone(name)
    config = backbone.pretrained_cfg
    _, height, width = config["input_size"]
    resize = math.floor(max(height, width) / config.get("crop_pct", 1.0))
    return ImageRecipe(height, width, resize, _three(config["mean"]), _three(config["std"]))


def _three(numbers: "list[float] | tuple[float, ...]") -> Triple:
    red, green, blue = (float(number) for number in numbers)
    return red, green, blue
