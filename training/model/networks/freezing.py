"""Keep parts of a pretrained backbone as they are while the rest is trained.

What is frozen gets no gradient, and stays in evaluation mode whatever is called: batch norm in training mode would
change its running means, and would normalise by the batch, so the features of frozen layers would move all the same.
"""

from collections.abc import Sequence
from types import MethodType

from torch import nn

from training.errors import RecipeError

__all__ = ["freeze"]


def freeze(backbone: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Freeze the modules (or single parameters) of these names, with all that is inside them.

    Args:
        backbone: changed in place.
        patterns: whole names such as `layer1` or `features.0`; `features.1` is not `features.10`.

    Returns:
        The names of all frozen parameters, in the network's order.

    Raises:
        RecipeError: a name is unknown, or has no weights to freeze; nothing is frozen then.

    >>> freeze(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), ["0"])
    ['0.weight', '0.bias']

    """
    modules = dict(backbone.named_modules())
    parameters = dict(backbone.named_parameters())
    frozen: set[str] = set()
    for pattern in patterns:
        inside = {name for name in parameters if pattern and (name == pattern or name.startswith(f"{pattern}."))}
        if not inside:
            what = "has no weights to freeze" if pattern and pattern in modules else "is no part of this network"
            tops = dict.fromkeys(name.partition(".")[0] for name in parameters)
            raise RecipeError(f"cannot freeze {pattern!r}: it {what}; its parts with weights are: {', '.join(tops)}")
        frozen |= inside
    for pattern in patterns:
        if module := modules.get(pattern):
            module.eval()
            module.train = MethodType(_stay_in_evaluation, module)  # type: ignore[method-assign]
    for name in frozen:
        parameters[name].requires_grad_(requires_grad=False)
    return [name for name in parameters if name in frozen]


def _stay_in_evaluation(module: nn.Module, mode: bool = True) -> nn.Module:  # noqa: ARG001  torch's
    """Take the place of `module.train`, which puts a module and all inside it into training or evaluation mode."""
    return module
