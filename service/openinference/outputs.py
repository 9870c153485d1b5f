"""From the network output to the tensors that a request asks for, computed for the whole batch at once.

Shapes: B images, C classes, K heads.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from engines.base import Float
from models import tde
from service.errors import TopKError
from service.inference.registry import ServedModel
from service.openinference.requests import RequestedOutput
from service.openinference.tensors import Tensor

__all__ = ["check_classes", "output_tensors"]


def check_classes(served: ServedModel, outputs: Sequence[RequestedOutput]) -> None:
    """Check the number of classes in each requested output, before anything is computed.

    Raises:
        TopKError: `classification` is below 1 or above the number of values.

    """
    manifest = served.bundle.manifest
    for output in outputs:
        max_classes = manifest.num_heads if output.name == "head_cosine" else len(manifest.classes)
        if output.classes is not None and not 1 <= output.classes <= max_classes:
            raise TopKError(f"output {output.name!r}: classification {output.classes} is outside 1..{max_classes}")


def output_tensors(
    served: ServedModel,
    outputs: Sequence[RequestedOutput],
    logits: Float,
    head_cosine: Float,
    alphas: Float,
    prior_shift: Float | None,
) -> list[Tensor]:
    """Return the requested outputs in the order of the request.

    Args:
        served: the model.
        outputs: the requested outputs.
        logits: (B, C) at alpha 0.
        head_cosine: (B, K).
        alphas: (B,).
        prior_shift: (C,) log p_target − log p_train, added to the outputs that depend on alpha; None adds nothing.

    """
    tde_logits = tde.tde_logits(logits, head_cosine, served.bundle.class_effect, alphas)
    if prior_shift is not None:
        tde_logits = tde_logits + prior_shift
    values_of: dict[str, Callable[[], Float]] = {
        "logits": lambda: logits,
        "head_cosine": lambda: head_cosine,
        "tde_logits": lambda: tde_logits,
        "probabilities": lambda: _probabilities(served, logits, tde_logits),
    }
    tensors = []
    for output in outputs:
        values = values_of[output.name]().astype(np.float32, copy=False)
        if output.classes is None:
            tensors.append(Tensor(output.name, "FP32", values.shape, values))
            continue
        tie_breakers = tde_logits if output.name == "probabilities" else values
        order = np.lexsort((-tie_breakers, -values), axis=-1)[:, : output.classes]
        labels = None if output.name == "head_cosine" else [info.name for info in served.bundle.manifest.classes]
        tensors.append(Tensor(output.name, "BYTES", order.shape, _classifications(values, order, labels)))
    return tensors


def _probabilities(served: ServedModel, logits: Float, tde_logits: Float) -> Float:
    exempt = served.bundle.manifest.exempt_class
    return tde.softmax(tde_logits) if exempt is None else tde.exempt_probabilities(logits, tde_logits, exempt)


def _classifications(values: Float, order: NDArray[np.intp], labels: list[str] | None) -> list[bytes]:
    """Return `value:index:label` for each value in `order`, row by row; a value is written with all its digits."""
    suffixes = [f":{index}" if labels is None else f":{index}:{labels[index]}" for index in range(values.shape[1])]
    rows = np.take_along_axis(values, order, axis=1)
    return [
        f"{value!s}{suffixes[index]}".encode()
        for row, indices in zip(rows, order.tolist(), strict=True)
        for value, index in zip(row, indices, strict=True)
    ]
