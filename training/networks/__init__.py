"""Backbones by name: images in, features out. `cifar_resnet32`, or any classification network of torchvision."""

from typing import Any

import torchvision.models
from torch import nn

from training.errors import RecipeError
from training.networks.cifar_resnet import CifarResNet32

__all__ = ["backbone_names", "build_backbone"]


def backbone_names() -> list[str]:
    """Return every name `build_backbone` knows."""
    return ["cifar_resnet32", *torchvision.models.list_models(module=torchvision.models)]


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
