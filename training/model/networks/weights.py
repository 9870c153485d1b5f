"""Load pretrained weights from a file into a network: all of them, or none and an error that names what does not fit.

A partly loaded network still computes something, only worse, and the mistake would go unnoticed. So the file must have
every tensor of the network except the classifier's, and the network every tensor of the file. Nothing in the file is
executed: it is safetensors, or torch's format read with `weights_only`.
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
_WRAPPED = "module."  # the prefix that DistributedDataParallel and AveragedModel add to every name
_COUNTER = "num_batches_tracked"  # of batch norm; old files lack it, and evaluation does not use it
_OLD_DENSENET = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\..*)")  # torchvision's files have norm.1 for norm1


def load_weights(network: nn.Module, file: Path, name: str, classifiers: Sequence[str] = ()) -> None:
    """Load the file's weights into the network.

    Args:
        network: changed in place, except its classifier.
        file: see `read_weights`.
        name: the network's, for error messages.
        classifiers: the network's modules whose tensors the file may lack or have in another size; they are ignored.

    Raises:
        WeightsError: the file cannot be read, or its tensors are not the network's.

    """
    own = {key: value for key, value in network.state_dict().items() if not _belongs(key, classifiers)}
    given = {key: value for key, value in read_weights(file).items() if not _belongs(key, classifiers)}
    if name.startswith("densenet"):
        given = {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in given.items()}
    missing = [key for key in own if key not in given and not key.endswith(_COUNTER)]
    unexpected = [key for key in given if key not in own]
    other_size = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own.keys() & given.keys()
        if given[key].shape != own[key].shape
    ]
    faults = [("lacks", missing), ("has tensors that the network lacks:", unexpected), ("differs in", other_size)]
    if found := [f"{verb} {first_few(sorted(keys))}" for verb, keys in faults if keys]:
        raise WeightsError(f"{file}: not the weights of {name}: the file {'; it '.join(found)}")
    bad = [key for key, value in given.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise WeightsError(f"{file}: NaN or infinity in {first_few(sorted(bad))}; download the file again")
    network.load_state_dict(given, strict=False)


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read a file of named tensors: safetensors, or torch's format, there also nested under `state_dict` or `model`.

    Raises:
        WeightsError: the file does not exist, cannot be read, or holds no named tensors.

    """
    if not file.is_file():
        raise WeightsError(f"{file}: the file of weights does not exist")
    try:
        if file.suffix == ".safetensors":
            tree: Any = safetensors.torch.load_file(file)
        else:
            tree = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"{file}: neither safetensors nor a torch file of plain tensors ({type(error).__name__}); files with "
            "code or other objects are not read, so save the state_dict alone"
        ) from error
    for _ in range(_MAX_NESTED):
        if isinstance(tree, Mapping) and (inner := next((key for key in _NESTED_UNDER if _holds(tree, key)), None)):
            tree = tree[inner]
    if not isinstance(tree, Mapping) or not tree or not all(isinstance(value, Tensor) for value in tree.values()):
        raise WeightsError(f"{file}: not a state_dict, which is a mapping from names to tensors")
    wrapped = all(key.startswith(_WRAPPED) for key in tree)
    return {key.removeprefix(_WRAPPED) if wrapped else key: value for key, value in tree.items()}


def _holds(tree: Mapping[str, Any], key: str) -> bool:
    return isinstance(tree.get(key), Mapping)


def _belongs(key: str, modules: Sequence[str]) -> bool:
    return any(key.startswith(f"{module}.") for module in modules)
