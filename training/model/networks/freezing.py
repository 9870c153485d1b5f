"""Freeze parts of a pretrained backbone while the rest is trained.

A frozen module gets no gradient and stays in evaluation mode. Batch norm in training mode would change its running
means and normalise by the batch, so the features of frozen layers would still change.
"""

from collections.abc import Sequence
from types import MethodType

from torch import nn

from training.errors import RecipeError

__all__ = ["freeze"]


def freeze(backbone: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Freeze modules or single parameters by name, with everything inside them.

    Args:
        backbone: changed in place.
        patterns: whole names such as `layer1` or `features.0`; `features.1` does not match `features.10`.

    Returns:
        The names of all frozen parameters, in the network's order.

    Raises:
        RecipeError: a name is unknown, or has no weights to freeze; then nothing is frozen.

    >>> freeze(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), ["0"])
    ['0.weight', '0.bias']

    """
    modules = dict(backbone.named_modules())
    parameters = dict(backbone.named_parameters())
    frozen: set[str] = set()
    for pattern in patterns:
        inside = {name for name in parameters if pattern and (name == pattern or name.startswith(f"{pattern}."))}
        if not inside:
            reason = "it has no weights" if pattern and pattern in modules else "the network has no such part"
            tops = dict.fromkeys(name.partition(".")[0] for name in parameters)
            raise RecipeError(f"cannot freeze {pattern!r}: {reason}; parts with weights: {', '.join(tops)}")
        frozen |= inside
    for pattern in patterns:
        if module := modules.get(pattern):
            module.eval()
            module.train = MethodType(_stay_in_evaluation, module)
    for name in frozen:
        parameters[name].requires_grad_(False)
    return [name for name in parameters if name in frozen]


def _stay_in_evaluation(module: nn.Module, mode: bool = True) -> nn.Module:  # noqa: ARG001  torch's
    """Replace `module.train`, which sets training or evaluation mode for a module and everything inside it."""
    return module
