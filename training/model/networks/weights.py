"""Load pretrained weights from a file into a network: all of them, or none and an error that names what does not fit.

A partly loaded network still computes something, only worse, and the mistake would go unnoticed. So the file must have
every tensor of the network except the classifier's, and the network every tensor of the file. Nothing in the file is
executed: it is safetensors, or torch's format read with `weights_only`.

Training code wraps networks, and each wrapper puts a word in front of every name: `module.` (DistributedDataParallel,
averages), `_orig_mod.` (torch.compile), `model.`, `backbone.`. They are taken off, in any order and number, as far as
it takes to find the network's own names.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from rich.console import Console
from torch import Tensor, nn

from models.sentences import first_few
from training.errors import WeightsError

__all__ = ["load_weights", "read_weights"]

# Keys that hold the network's tensors in a checkpoint. If there are several, the first counts; averages come last.
_NESTED_UNDER = (
    *("state_dict", "model", "model_state_dict", "model_state", "net", "network", "module", "backbone", "encoder"),
    *("params", "weights", "state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "params_ema"),
)
_MAX_NESTED = 5  # a dict can hold itself
_WRAPPERS = frozenset(_NESTED_UNDER) | {"base_model", "online_model", "averaged_model"}
_INSERTED = re.compile(
    r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)  # anywhere in a name
_OF_AVERAGES = {"n_averaged", "initted", "step", "num_updates", "decay"}  # numbers that wrappers for averages keep
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
    whole = network.state_dict()
    own = {key: value for key, value in whole.items() if not _belongs(key, classifiers)}
    read = {
        key: value
        for key, value in read_weights(file).items()
        if key in whole or value.numel() != 1 or key.rpartition(".")[2] not in _OF_AVERAGES
    }
    if name.startswith("densenet"):
        read = {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in read.items()}
    names = _own_names(read, whole.keys(), classifiers)
    given = {names[key]: value for key, value in read.items() if not _belongs(names[key], classifiers)}
    twice = [f"{names[key]} ({key})" for key in read if names[key] in own and read[key] is not given[names[key]]]
    missing = [key for key in own if key not in given and not key.endswith(_COUNTER)]
    unexpected = [key for key in given if key not in own]
    other_size = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own.keys() & given.keys()
        if given[key].shape != own[key].shape
    ]
    faults = [
        ("lacks", missing),
        ("has tensors that the network lacks:", unexpected),
        ("differs in", other_size),
        ("has several tensors for", twice),
    ]
    if found := [f"{verb} {first_few(sorted(keys))}" for verb, keys in faults if keys]:
        found += ["needs one set of weights; save the one to take alone"] if twice else []
        raise WeightsError(f"{file}: not the weights of {name}: the file {'; it '.join(found)}")
    bad = [key for key, value in given.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise WeightsError(f"{file}: NaN or infinity in {first_few(sorted(bad))}; download the file again")
    network.load_state_dict(given, strict=False)


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read a file of named tensors: safetensors, or torch's format, there also nested under the usual keys.

    If the file has several sets of weights, such as an average beside the plain ones, a line on standard error says
    which are taken.

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
        if _is_state_dict(tree):
            break
        if isinstance(tree, Mapping) and (inner := next((key for key in _NESTED_UNDER if _holds(tree, key)), None)):
            _say_which(file, tree, inner)
            tree = tree[inner]
    if not _is_state_dict(tree):
        raise WeightsError(f"{file}: not a state_dict, which is a mapping from names to tensors")
    return dict(tree)


def _say_which(file: Path, tree: Mapping[str, Any], taken: str) -> None:
    """Print which weights of the file are taken if others lie beside them."""
    others = [
        repr(key)
        for key, value in tree.items()
        if key != taken and (_is_state_dict(value) or (key in _NESTED_UNDER and isinstance(value, Mapping)))
    ]
    if others:
        line = (
            f"{file}: takes the weights under {taken!r}, not those under {first_few(others)}; to take others, save "
            "them alone in a file"
        )
        Console(stderr=True, highlight=False).print(line, markup=False, soft_wrap=True, style="yellow")


def _own_names(keys: Collection[str], own: Collection[str], classifiers: Sequence[str]) -> dict[str, str]:
    """Return each key's name in the network: the key without the words of wrappers in front of it.

    Words that stand in front of every key are wrappers' if all tensors fit without them, whatever they are; of others,
    only the usual ones are. As few as possible are taken off: a network may have a part called `encoder` itself. A key
    that fits nothing stays as it is.

    >>> _own_names(["module.a.w", "module.model.b.w", "module.x.w"], ["a.w", "b.w"], [])
    {'module.a.w': 'a.w', 'module.model.b.w': 'b.w', 'module.x.w': 'module.x.w'}
    >>> _own_names(["mine.a.w", "mine.b.w"], ["a.w", "b.w"], [])
    {'mine.a.w': 'a.w', 'mine.b.w': 'b.w'}

    """
    names = {key: _INSERTED.sub("", key).split(".") for key in keys}
    in_front = takewhile(lambda words: len(set(words)) == 1, zip(*(name[:-1] for name in names.values()), strict=False))
    attempts = []
    for skipped in range(len(list(in_front)) + 1):
        found = {key: _unwrapped(name[skipped:], own, classifiers) or key for key, name in names.items()}
        mine = [name for name in found.values() if name in own]
        others = [name for name in found.values() if name not in own and not _belongs(name, classifiers)]
        if not others and len(set(mine)) == len(mine):
            return found
        attempts.append(found)
    return attempts[0]


def _unwrapped(words: Sequence[str], own: Collection[str], classifiers: Sequence[str]) -> str | None:
    """Return the network's name that is left when usual words of wrappers are taken off; None if there is none."""
    for start in range(len(words)):
        name = ".".join(words[start:])
        if name in own or _belongs(name, classifiers):
            return name
        if words[start] not in _WRAPPERS:
            break
    return None


def _is_state_dict(tree: object) -> bool:
    return isinstance(tree, Mapping) and bool(tree) and all(isinstance(value, Tensor) for value in tree.values())


def _holds(tree: Mapping[str, Any], key: str) -> bool:
    return isinstance(tree.get(key), Mapping)


def _belongs(key: str, modules: Sequence[str]) -> bool:
    return any(key.startswith(f"{module}.") for module in modules)
