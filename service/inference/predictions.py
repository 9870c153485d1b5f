"""From the network output to the predictions at each alpha of a request.

The network has run once. Here alpha is applied (`models/tde.py`) to all pictures of a batch at once, each with the
alphas of its own request, so a batch may mix any number of alphas.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from engines.base import Float
from models import tde
from service.inference.network_output import NetworkOutput
from service.inference.registry import ServedModel

__all__ = ["PicturePredictions", "PredictionParameters", "is_heavy", "predict"]

MAX_NUMBERS = 1_000_000  # alphas x classes, summed over the pictures, that are computed at once; 8 MB
HEAVY_NUMBERS = 20_000  # alphas x classes of one picture; takes some milliseconds
FEW_CLASSES = 64  # up to this many, sorting all classes is faster than partitioning them first

# The pieces of one prediction as JSON, "" for each value, and the positions of the values.
_BEFORE_CLASSES = ('{"alpha":', "", ',"classes":[')
_ALPHA = 1
_CLASS = ("", "", ',"logit":', "", "", ",")
_LAST_CLASS = ("", "", ',"logit":', "", "", "]},")
_BEFORE = 0
_PROBABILITY = 1
_LOGIT = 3
_AFTER = 4


class PredictionParameters(NamedTuple):
    """The parameters of a request's predictions.

    Args:
        alphas: the A values of alpha.
        top_k: how many classes to return at each alpha.
        prior_shift: (C,) log p_target − log p_train, added at every alpha; None adds nothing.

    """

    alphas: tuple[float, ...]
    top_k: int
    prior_shift: Float | None = None


class PicturePredictions(NamedTuple):
    """The predictions for one picture, and the network output that they come from.

    Args:
        predictions: one for each alpha, as JSON.
        top: index of the most probable class at the first alpha.
        plain: index of the class with the largest logit at alpha 0.
        logits: (C,) at alpha 0.
        head_cosine: (K,).

    """

    predictions: orjson.Fragment
    top: int
    plain: int
    logits: Float
    head_cosine: Float


def is_heavy(served: ServedModel, parameters: PredictionParameters) -> bool:
    """Return whether computing the predictions for one picture would block the event loop for too long."""
    return len(parameters.alphas) * len(served.bundle.manifest.classes) > HEAVY_NUMBERS


def predict(
    served: ServedModel, output: NetworkOutput, parameters: Sequence[PredictionParameters]
) -> list[PicturePredictions]:
    """Return the predictions for each picture: the top classes at each alpha, most probable first.

    If two classes are equally probable, the one with the larger logit comes first, then the one with the lower index.

    Args:
        served: the model.
        output: (B, C) logits at alpha 0, (B, K) head cosine.
        parameters: B of them.

    """
    plain = output.logits.argmax(axis=1).tolist()
    predictions: list[PicturePredictions] = []
    for part in _parts(parameters, len(served.bundle.manifest.classes)):
        ranked = _rank(served, output, part, parameters[part])
        row = 0
        for picture, wanted in enumerate(parameters[part], part.start):
            fragment = _to_json(served, wanted, ranked, row)
            top = ranked.order[0][row]
            row += len(wanted.alphas)
            predictions.append(
                PicturePredictions(fragment, top, plain[picture], output.logits[picture], output.head_cosine[picture])
            )
    return predictions


def _parts(parameters: Sequence[PredictionParameters], classes: int) -> Iterator[slice]:
    """Split a batch into parts that are small enough to be computed at once."""
    start = total = 0
    for index, wanted in enumerate(parameters):
        size = len(wanted.alphas) * classes
        if total and total + size > MAX_NUMBERS:
            yield slice(start, index)
            start = index
            total = 0
        total += size
    yield slice(start, len(parameters))


class _Ranked(NamedTuple):
    """The T best classes at R alphas, where T is the largest top_k, and their scores as JSON: T lists of R each."""

    order: list[list[int]]
    probabilities: list[list[str]]
    logits: list[list[str]]


def _rank(
    served: ServedModel, output: NetworkOutput, part: slice, parameters: Sequence[PredictionParameters]
) -> _Ranked:
    """Apply each alpha to its picture, and rank the classes."""
    factual = output.logits[part]
    cosines = output.head_cosine[part]
    counts = [len(wanted.alphas) for wanted in parameters]
    alphas = np.array([alpha for wanted in parameters for alpha in wanted.alphas])
    if len(alphas) > len(parameters):
        factual = np.repeat(factual, counts, axis=0)
        cosines = np.repeat(cosines, counts, axis=0)
    shifted = tde.tde_logits(factual, cosines, served.bundle.class_effect, alphas)
    if any(wanted.prior_shift is not None for wanted in parameters):
        no_shift = np.zeros(shifted.shape[1], shifted.dtype)
        shifts = [no_shift if wanted.prior_shift is None else wanted.prior_shift for wanted in parameters]
        shifted = shifted + np.repeat(np.stack(shifts), counts, axis=0)
    exempt = served.bundle.manifest.exempt_class
    max_top_k = max(wanted.top_k for wanted in parameters)
    if exempt is None:
        probabilities = tde.softmax(shifted)
        order = _best(shifted, max_top_k)
    else:
        probabilities = tde.exempt_probabilities(factual, shifted, exempt)
        order = np.lexsort((-shifted, -probabilities), axis=-1)[:, :max_top_k]
    rows = np.arange(len(order))
    order = order.T
    return _Ranked(order.tolist(), _numbers_to_json(probabilities[rows, order]), _numbers_to_json(shifted[rows, order]))


def _numbers_to_json(numbers: Float) -> list[list[str]]:
    """Return each number as JSON.

    >>> _numbers_to_json(np.float32([[0.1, 2], [-3, 0.25]]))
    [['0.1', '2.0'], ['-3.0', '0.25']]
    """
    width = numbers.shape[1]
    flat = orjson.dumps(numbers.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].decode().split(",")
    return [flat[start : start + width] for start in range(0, len(flat), width)]


def _best(scores: Float, count: int) -> NDArray[np.int64]:
    """Return the indices of each row's largest scores in descending order; of equal scores the lower index comes first.

    >>> _best(np.float32([[1, 3, 2, 3]]), 3).tolist()
    [[1, 3, 2]]
    """
    classes = scores.shape[1]
    if classes <= max(FEW_CLASSES, 2 * count):
        return np.argsort(-scores, axis=1, kind="stable")[:, :count]
    candidates = np.sort(np.argpartition(-scores, count - 1, axis=1)[:, :count], axis=1)
    order = np.argsort(-np.take_along_axis(scores, candidates, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(candidates, order, axis=1)
    lowest = np.take_along_axis(scores, best[:, -1:], axis=1)
    for row in np.flatnonzero((scores >= lowest).sum(axis=1) > count):  # several classes tie for the last place
        best[row] = np.argsort(-scores[row], kind="stable")[:count]
    return best


def _to_json(served: ServedModel, parameters: PredictionParameters, ranked: _Ranked, first: int) -> orjson.Fragment:
    """Return one picture's predictions as JSON; its alphas are the columns of `ranked` that start at `first`.

    A hundred alphas make five hundred classes. Creating a dictionary, or even a string, for each would take longer than
    a small network. So the pieces of one prediction are repeated for every alpha, and each kind of value is filled in
    by one slice assignment.
    """
    alphas = parameters.alphas
    (before, after) = served.classes_as_json
    pieces_of_one = [*_BEFORE_CLASSES, *_CLASS * (parameters.top_k - 1), *_LAST_CLASS]
    pieces = pieces_of_one * len(alphas)
    step = len(pieces_of_one)
    columns = slice(first, first + len(alphas))
    pieces[_ALPHA::step] = orjson.dumps(alphas)[1:-1].decode().split(",")
    for rank in range(parameters.top_k):
        start = len(_BEFORE_CLASSES) + rank * len(_CLASS)
        order = ranked.order[rank][columns]
        pieces[start + _BEFORE :: step] = [before[index] for index in order]
        pieces[start + _PROBABILITY :: step] = ranked.probabilities[rank][columns]
        pieces[start + _LOGIT :: step] = ranked.logits[rank][columns]
        pieces[start + _AFTER :: step] = [after[index] for index in order]
    return orjson.Fragment(f"[{''.join(pieces)[:-1]}]".encode())  # without the last comma
