"""Backbones by name: images in, features out.

`cifar_resnet32`; any classification network of torchvision; and those of its ResNet family that the authors' code has
and torchvision does not name: `resnet10`, `resnext101_32x4d`, `resnext152_32x4d`.
"""

from typing import Any

import torchvision.models
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from training.errors import RecipeError
from training.networks.cifar_resnet import CifarResNet32

__all__ = ["backbone_names", "build_backbone"]

_UNNAMED: dict[str, dict[str, Any]] = {
    "resnet10": {"block": BasicBlock, "layers": [1, 1, 1, 1]},
    "resnext101_32x4d": {"block": Bottleneck, "layers": [3, 4, 23, 3], "groups": 32, "width_per_group": 4},
    "resnext152_32x4d": {"block": Bottleneck, "layers": [3, 8, 36, 3], "groups": 32, "width_per_group": 4},
}


def backbone_names() -> list[str]:
    """Return every name `build_backbone` knows."""
    return ["cifar_resnet32", *torchvision.models.list_models(module=torchvision.models), *_UNNAMED]


def build_backbone(name: str) -> tuple[nn.Module, int]:
    """Make a backbone with random weights.

    Returns:
        The network, (B, 3, H, W) normalised images -> (B, D) features, and D.
    Raises:
        RecipeError: no such name.
    """
    if name == "cifar_resnet32":
        return CifarResNet32(), CifarResNet32.feature_dim
    if name not in backbone_names():
        raise RecipeError(f"network {name!r} is unknown; there are: {', '.join(backbone_names())}")
    if name in _UNNAMED:
        network = ResNet(**_UNNAMED[name])
        return network, _cut_off_classifier(network)
    options: dict[str, Any] = (
        {"aux_logits": False, "init_weights": True} if name in {"googlenet", "inception_v3"} else {}
    )
    network = torchvision.models.get_model(name, weights=None, **options)
    if name.startswith("squeezenet"):
        network.classifier = nn.AdaptiveAvgPool2d(1)  # its classifier is a convolution; the features before it are 512
        return network, 512
    return network, _cut_off_classifier(network)


def _cut_off_classifier(network: nn.Module) -> int:
    """Replace the last linear layer by nothing, and return how many features went into it."""
    name, layer = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Identity())
    return layer.in_features
