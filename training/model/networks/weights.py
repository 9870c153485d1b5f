"""Pretrained weights from a file into a network: all of them, or a sentence that says which do not fit.

A network that is loaded in part still computes something, only worse, and nobody would notice. So every tensor but the
classifier's must be in the file, and every tensor of the file in the network. Nothing in the file is executed: it is
safetensors, or torch's format read with `weights_only`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from models.sentences import first_few
from training.errors import WeightsError

__all__ = ["load_weights", "read_weights"]

_NESTED_UNDER = ("state_dict", "model")
_MAX_NESTED = 2  # a dict can hold itself
_WRAPPED = "module."  # what DistributedDataParallel and AveragedModel put before every name
_COUNTER = "num_batches_tracked"  # of batch norm; files older than it lack it, and evaluation does not use it
_OLD_DENSENET = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\..*)")  # torchvision's files: norm.1 for norm1


def load_weights(network: nn.Module, file: Path, name: str, classifiers: Sequence[str] = ()) -> None:
    """Put the file's weights into the network.

    Args:
        network: to be filled; its classifier keeps what it has.
        file: see `read_weights`.
        name: the network's, for the sentence.
        classifiers: names of its modules that may be missing, of another size, or there in vain.

    Raises:
        WeightsError: the file cannot be read, or its tensors are not the network's.

    """
    there = {key: value for key, value in network.state_dict().items() if not _belongs(key, classifiers)}
    given = {key: value for key, value in read_weights(file).items() if not _belongs(key, classifiers)}
    if name.startswith("densenet"):
        given = {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in given.items()}
    missing = [key for key in there if key not in given and not key.endswith(_COUNTER)]
    unexpected = [key for key in given if key not in there]
    other_size = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(there[key].shape)}"
        for key in there.keys() & given.keys()
        if given[key].shape != there[key].shape
    ]
    faults = [("lacks", missing), ("has what the network does not know:", unexpected), ("differs in", other_size)]
    if found := [f"{verb} {first_few(sorted(keys))}" for verb, keys in faults if keys]:
        raise WeightsError(f"{file}: not the weights of {name}: the file {'; it '.join(found)}")
    bad = [key for key, value in given.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise WeightsError(f"{file}: NaN or infinity in {first_few(sorted(bad))}; get the file again")
    network.load_state_dict(given, strict=False)


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read a file of named tensors: safetensors, or torch's, there also nested under `state_dict` or `model`.

    Raises:
        WeightsError: there is none, it cannot be read, or holds no named tensors.

    """
    if not file.is_file():
        raise WeightsError(f"{file}: no such file of weights")
    try:
        if file.suffix == ".safetensors":
            tree: Any = safetensors.torch.load_file(file)
        else:
            tree = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"{file}: neither safetensors nor a torch file of plain tensors ({type(error).__name__}); what holds code "
            "or other objects is not read; save its state_dict"
        ) from error
    for _ in range(_MAX_NESTED):
        if isinstance(tree, Mapping) and (inner := next((key for key in _NESTED_UNDER if _holds(tree, key)), None)):
            tree = tree[inner]
    if not isinstance(tree, Mapping) or not tree or not all(isinstance(value, Tensor) for value in tree.values()):
        raise WeightsError(f"{file}: holds no state_dict, which is a mapping from names to tensors")
    wrapped = all(key.startswith(_WRAPPED) for key in tree)
    return {key.removeprefix(_WRAPPED) if wrapped else key: value for key, value in tree.items()}


def _holds(tree: Mapping[str, Any], key: str) -> bool:
    return isinstance(tree.get(key), Mapping)


def _belongs(key: str, modules: Sequence[str]) -> bool:
    return any(key.startswith(f"{module}.") for module in modules)
