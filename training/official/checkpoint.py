"""The layout of the authors' checkpoints: network, weights, class weights, mean feature.

    {"epoch", "state_dict": {"feat_model": {...}, "classifier": {...}}, "embed"}        latest_model_checkpoint.pth
    {"epoch", "best_epoch", "state_dict_best": {...}, "best_acc", "embed"}              final_model_checkpoint.pth

Weights are named `module.conv1.weight` (DataParallel). `embed` is the running sum m ← μ·m + batch mean of the last
epoch, even in the file with the weights of the best epoch. Only the direction of each head's part matters.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import TypeIs

from models.sentences import first_few
from training.errors import CheckpointError
from training.official.torch_file import read_torch_file

__all__ = ["OfficialCheckpoint", "check_fit", "network_of", "read_official"]

# (blocks of layer1 to layer4, three convolutions a block, channels of the first block's first convolution) -> network
_NETWORKS: dict[tuple[tuple[int, ...], bool, int], str] = {
    ((1, 1, 1, 1), False, 64): "resnet10",
    ((3, 4, 6, 3), True, 64): "resnet50",
    ((3, 4, 23, 3), True, 64): "resnet101",
    ((3, 8, 36, 3), True, 64): "resnet152",
    ((3, 4, 6, 3), True, 128): "resnext50_32x4d",
    ((3, 4, 23, 3), True, 128): "resnext101_32x4d",
    ((3, 8, 36, 3), True, 128): "resnext152_32x4d",
}
_UNUSED = ".num_batches_tracked"  # counters of training steps; torch before 0.4.1 has none


@dataclass(frozen=True)
class OfficialCheckpoint:
    """The contents of a checkpoint.

    Attributes:
        network: its name in `training.model.networks.backbones`.
        backbone: name -> float32 tensor, without `module.` and without counters.
        weight: (C, D) class weights.
        mean_feature: (D,) float32, `embed`.
        best: whether the weights are of the best epoch on the authors' validation set, rather than of the last epoch.
        epoch: of the weights, or None if the file does not say.

    """

    network: str
    backbone: dict[str, Tensor]
    weight: Tensor
    mean_feature: Tensor
    best: bool
    epoch: int | None


def read_official(path: Path) -> OfficialCheckpoint:
    """Read a checkpoint that the authors' `save_latest` or `save_model` wrote.

    Raises:
        CheckpointError: the file is unreadable, contains pickled code, or has another layout; the message names what
            is missing or unexpected.

    """
    content = read_torch_file(path)
    kinds = [kind for kind in ("state_dict_best", "state_dict") if kind in content]
    if len(kinds) != 1:
        raise CheckpointError(
            f"{path}: contains {first_few(map(str, content))}; the authors' files contain either state_dict_best or "
            "state_dict"
        )
    (kind,) = kinds
    networks = content[kind]
    for part in ("feat_model", "classifier"):
        if not isinstance(networks, dict) or not isinstance(networks.get(part), dict):
            raise CheckpointError(
                f"{path}: {kind} has no {part}; in the authors' files it has feat_model and classifier"
            )
    backbone = _weights(path, f"{kind}.feat_model", networks["feat_model"])
    weight = _class_weights(path, f"{kind}.classifier", networks["classifier"])
    epoch = content.get("best_epoch" if kind == "state_dict_best" else "epoch")
    return OfficialCheckpoint(
        network=network_of(path, f"{kind}.feat_model", backbone),
        backbone=backbone,
        weight=weight,
        mean_feature=_mean_feature(path, content.get("embed"), weight.shape[1]),
        best=kind == "state_dict_best",
        epoch=epoch if type(epoch) is int and epoch >= 0 else None,
    )


def network_of(path: Path, part: str, backbone: Mapping[str, Tensor]) -> str:
    """Return the name of a network, recognised by the names of its weights and one shape.

    Raises:
        CheckpointError: it is not one of the authors' networks.

    """
    if "cb_block.conv1.weight" in backbone:
        return "cifar_resnet32"
    first = backbone.get("layer1.0.conv1.weight")
    stages = tuple(_blocks(backbone, f"layer{stage}.") for stage in (1, 2, 3, 4))
    network = None
    if first is not None:
        network = _NETWORKS.get((stages, "layer1.0.conv3.weight" in backbone, first.shape[0]))
    if network is None:
        raise CheckpointError(
            f"{path}: {part} is not one of the authors' networks (cifar_resnet32, {', '.join(_NETWORKS.values())}): "
            f"{stages} blocks in layer1 to layer4, {len(backbone)} tensors such as {first_few(backbone)}"
        )
    return network


def check_fit(what: str, given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Check that weights are exactly those of a network.

    Args:
        what: a description of the weights for the message.
        given: the weights.
        expected: the state dict of the network.

    Raises:
        CheckpointError: weights are missing, unexpected, or of another shape.

    """
    wanted = {name: tensor for name, tensor in expected.items() if not name.endswith(_UNUSED)}
    faults = []
    if missing := [name for name in wanted if name not in given]:
        faults.append(f"missing {first_few(missing)}")
    if unexpected := [name for name in given if name not in wanted]:
        faults.append(f"unexpected {first_few(unexpected)}")
    shapes = [
        f"{name} (the file has {tuple(given[name].shape)}, the network {tuple(tensor.shape)})"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if shapes:
        faults.append(f"wrong shape {first_few(shapes)}")
    if faults:
        raise CheckpointError(f"{what} does not fit: {'; '.join(faults)}")


def _weights(path: Path, part: str, named: dict[Any, Any]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for key, value in named.items():
        name = str(key).removeprefix("module.")
        if name.endswith(_UNUSED):
            continue
        if not _is_dense_float(value):
            raise CheckpointError(f"{path}: {part}: {name} is not a floating-point tensor")
        _check_size(path, f"{part}: {name}", value)
        weights[name] = value.detach().float().contiguous()
        if not torch.isfinite(weights[name]).all():
            raise CheckpointError(f"{path}: {part}: {name} contains values that are not finite; training diverged")
    return weights


def _class_weights(path: Path, part: str, named: dict[Any, Any]) -> Tensor:
    weights = _weights(path, part, named)
    if weights.keys() != {"weight"} or weights["weight"].ndim != 2:
        found = first_few(f"{name} {tuple(value.shape)}" for name, value in weights.items())
        raise CheckpointError(
            f"{path}: {part} contains {found}; TDE needs a Causal_Norm_Classifier, which has one `weight` of shape "
            "(classes, features)"
        )
    return weights["weight"]


def _is_dense_float(value: object) -> TypeIs[Tensor]:
    """Return whether a value is a dense floating-point tensor that has its data."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.is_floating_point()
    )


def _check_size(path: Path, what: str, value: Tensor) -> None:
    """Refuse a tensor that repeats its values: a tiny file could otherwise use any amount of memory."""
    stored = value.untyped_storage().nbytes() // value.element_size()
    if math.prod(value.shape) > stored:
        raise CheckpointError(
            f"{path}: {what} has shape {tuple(value.shape)}, but the file stores only {stored:,} of its values; "
            "save the tensor itself (.contiguous()) instead of an expanded view"
        )


def _mean_feature(path: Path, embed: Any, width: int) -> Tensor:
    if _is_dense_float(embed):
        _check_size(path, "embed", embed)
        embed = embed.detach().float().numpy()
    if not isinstance(embed, np.ndarray):
        raise CheckpointError(f"{path}: no `embed`, the mean feature that TDE needs; the authors' files contain it")
    values = embed.astype(np.float32).reshape(-1)
    if len(values) != width:
        raise CheckpointError(f"{path}: embed has {len(values)} values, but the classifier's weights have {width}")
    if not np.isfinite(values).all():
        raise CheckpointError(f"{path}: embed contains values that are not finite; training diverged")
    if (values < 0).any():
        raise CheckpointError(
            f"{path}: embed has negative values, but features after the final ReLU of these networks have none; "
            "networks trained with `last_relu: false` or with PCA cannot be imported"
        )
    return torch.from_numpy(values)


def _blocks(backbone: Mapping[str, Tensor], stage: str) -> int:
    return len({name.split(".")[1] for name in backbone if name.startswith(stage)})
