"""The input that a pretrained backbone was published with: image size, resizing, mean and standard deviation.

torchvision and timm publish these beside each network. Resizing is always bilinear here, even for networks that were
published with bicubic resizing: training and serving then see the same pixels.
"""

import math
from pathlib import Path
from typing import Any

import torchvision.models

from models.manifest import ImageRecipe
from training.model.networks.backbones import EFFICIENTNET_LITE0, TIMM, UNNAMED_RESNETS, backbone_names, build_backbone
from training.recipe.recipe import Recipe

__all__ = ["published_input"]

Triple = tuple[float, float, float]
_HALF: tuple[Triple, Triple] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_RESNETS = ImageRecipe(224, 224, 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # as torchvision's
_TRANSFORMED = ("googlenet", "inception_v3")  # these convert from ImageNet's normalisation inside the network


def published_input(name: str, weights: Path | None = None) -> ImageRecipe:
    """Return how pictures become images for a backbone.

    Args:
        name: the backbone's, see `training.model.networks.backbones`.
        weights: the file of weights. torchvision publishes several for some networks, which differ in the file's name;
            an unknown name means the newest.

    Raises:
        RecipeError: the name is unknown.

    """
    if name == "cifar_resnet32":
        return Recipe(name="cifar").image_recipe
    if name == EFFICIENTNET_LITE0:
        return ImageRecipe(224, 224, 256, *_HALF)  # as trained; the package's README states ImageNet's (LOG.md)
    if name.startswith(TIMM):
        return _published_by_timm(name)
    if name in UNNAMED_RESNETS:
        return _RESNETS
    if name not in backbone_names():
        build_backbone(name)  # raises that the name is unknown
    entries = torchvision.models.get_model_weights(name)
    named = [entry for entry in entries if weights is not None and entry.url.rpartition("/")[2] == weights.name]
    chosen = (named or [entries.DEFAULT])[0].transforms()
    side = chosen.crop_size[0]
    resize = chosen.resize_size[0]
    mean, std = _HALF if name in _TRANSFORMED else (_three(chosen.mean), _three(chosen.std))
    return ImageRecipe(side, side, max(side, resize), mean, std)


def _published_by_timm(name: str) -> ImageRecipe:
    backbone, _ = build_backbone(name)
    config: Any = backbone.pretrained_cfg  # a dictionary of timm's
    _, height, width = config["input_size"]
    resize = math.floor(max(height, width) / config.get("crop_pct", 1.0))
    return ImageRecipe(height, width, resize, _three(config["mean"]), _three(config["std"]))


def _three(numbers: "list[float] | tuple[float, ...]") -> Triple:
    red, green, blue = (float(number) for number in numbers)
    return red, green, blue
