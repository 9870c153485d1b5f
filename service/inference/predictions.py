"""From the network's numbers to the predictions at each alpha asked for.

The network ran once; here alpha is applied (`models/tde.py`), to all pictures of a batch at once, each with the alphas
of its own request, so a batch may mix any number of them.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import orjson
from fastapi import Response
from numpy.typing import NDArray

from engines.base import Float
from models import tde
from service.inference.cache import NetworkOutput
from service.inference.registry import ServedModel
from service.storage.operating_points import PointInForce

__all__ = ["Predicted", "PredictionQuery", "is_heavy", "iso_time", "json_answer", "operating_point", "predict"]

MAX_NUMBERS = 1_000_000  # worked out at once: alphas x classes, over the pictures; 8 MB
HEAVY_NUMBERS = 20_000  # alphas x classes of one picture, some milliseconds
FEW_CLASSES = 64  # sorting so many is faster than looking for the best of them first

# The pieces of one prediction as JSON, "" where something is to be filled in, and where that is.
_BEFORE_CLASSES = ('{"alpha":', "", ',"classes":[')
_ALPHA = 1
_CLASS = ("", "", ',"logit":', "", "", ",")
_LAST_CLASS = ("", "", ',"logit":', "", "", "]},")
_BEFORE = 0
_PROBABILITY = 1
_LOGIT = 3
_AFTER = 4


class PredictionQuery(NamedTuple):
    """What a request wants to know of a picture.

    Args:
        alphas: A numbers.
        top_k: how many classes at each.
        prior_shift: (C,) log p_target − log p_train, added at every alpha; None adds nothing.

    """

    alphas: tuple[float, ...]
    top_k: int
    prior_shift: Float | None = None


class Predicted(NamedTuple):
    """What a request is told of a picture.

    Args:
        predictions: one per alpha, as JSON.
        top: index of the most probable class at the first alpha.
        plain: index of the one with the largest logit at alpha 0.
        logits: (C,) at alpha 0.
        head_cosine: (K,).

    """

    predictions: orjson.Fragment
    top: int
    plain: int
    logits: Float
    head_cosine: Float


def is_heavy(served: ServedModel, question: PredictionQuery) -> bool:
    """Say whether answering would hold the event loop up."""
    return len(question.alphas) * len(served.bundle.manifest.classes) > HEAVY_NUMBERS


def predict(served: ServedModel, numbers: NetworkOutput, questions: Sequence[PredictionQuery]) -> list[Predicted]:
    """Return what each request is told of its picture: per alpha the top classes, most probable first.

    Where two are equally probable the one with the larger logit comes first, then the one with the lower index.

    Args:
        served: the model.
        numbers: (B, C) logits at alpha 0, (B, K) head cosine.
        questions: B of them.

    """
    plain = numbers.logits.argmax(axis=1).tolist()
    predicted: list[Predicted] = []
    for part in _parts(questions, len(served.bundle.manifest.classes)):
        ranked = _ranked(served, numbers, part, questions[part])
        row = 0
        for picture, question in enumerate(questions[part], part.start):
            shown = _shown(served, question, ranked, row)
            top = ranked.order[0][row]
            row += len(question.alphas)
            predicted.append(
                Predicted(shown, top, plain[picture], numbers.logits[picture], numbers.head_cosine[picture])
            )
    return predicted


def _parts(questions: Sequence[PredictionQuery], classes: int) -> Iterator[slice]:
    """Cut a batch so that no part is too much to work out at once."""
    start = total = 0
    for index, question in enumerate(questions):
        size = len(question.alphas) * classes
        if total and total + size > MAX_NUMBERS:
            yield slice(start, index)
            start = index
            total = 0
        total += size
    yield slice(start, len(questions))


class _Ranked(NamedTuple):
    """The T best classes of R alphas, T the largest top_k, and what they score, as JSON: T lists of R each."""

    order: list[list[int]]
    probabilities: list[list[str]]
    logits: list[list[str]]


def _ranked(served: ServedModel, numbers: NetworkOutput, part: slice, questions: Sequence[PredictionQuery]) -> _Ranked:
    """Apply each alpha to its picture, and rank the classes."""
    factual = numbers.logits[part]
    cosines = numbers.head_cosine[part]
    counts = [len(question.alphas) for question in questions]
    alphas = np.array([alpha for question in questions for alpha in question.alphas])
    if len(alphas) > len(questions):
        factual = np.repeat(factual, counts, axis=0)
        cosines = np.repeat(cosines, counts, axis=0)
    shifted = tde.tde_logits(factual, cosines, served.bundle.class_effect, alphas)
    if any(question.prior_shift is not None for question in questions):
        nothing = np.zeros(shifted.shape[1], shifted.dtype)
        shifts = [nothing if each.prior_shift is None else each.prior_shift for each in questions]
        shifted = shifted + np.repeat(np.stack(shifts), counts, axis=0)
    exempt = served.bundle.manifest.exempt_class
    most = max(question.top_k for question in questions)
    if exempt is None:
        probabilities = tde.softmax(shifted)
        order = _best(shifted, most)
    else:
        probabilities = tde.exempt_probabilities(factual, shifted, exempt)
        order = np.lexsort((-shifted, -probabilities), axis=-1)[:, :most]
    rows = np.arange(len(order))
    order = order.T
    return _Ranked(order.tolist(), _as_json(probabilities[rows, order]), _as_json(shifted[rows, order]))


def _as_json(numbers: Float) -> list[list[str]]:
    """Return each number as JSON.

    >>> _as_json(np.float32([[0.1, 2], [-3, 0.25]]))
    [['0.1', '2.0'], ['-3.0', '0.25']]
    """
    width = numbers.shape[1]
    flat = orjson.dumps(numbers.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].decode().split(",")
    return [flat[start : start + width] for start in range(0, len(flat), width)]


def _best(scores: Float, most: int) -> NDArray[np.int64]:
    """Return the indices of each row's largest scores, the largest first, the lower index first where equal.

    >>> _best(np.float32([[1, 3, 2, 3]]), 3).tolist()
    [[1, 3, 2]]
    """
    classes = scores.shape[1]
    if classes <= max(FEW_CLASSES, 2 * most):
        return np.argsort(-scores, axis=1, kind="stable")[:, :most]
    some = np.sort(np.argpartition(-scores, most - 1, axis=1)[:, :most], axis=1)
    of_them = np.argsort(-np.take_along_axis(scores, some, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(some, of_them, axis=1)
    least = np.take_along_axis(scores, best[:, -1:], axis=1)
    for row in np.flatnonzero((scores >= least).sum(axis=1) > most):  # several tie for the last place
        best[row] = np.argsort(-scores[row], kind="stable")[:most]
    return best


def _shown(served: ServedModel, question: PredictionQuery, ranked: _Ranked, first: int) -> orjson.Fragment:
    """Return one picture's predictions as JSON; its alphas are columns of `ranked`, from the `first` on.

    A hundred alphas are five hundred classes, and a dictionary, or only a string, for each would take longer than a
    small network. So the pieces of one prediction are repeated for every alpha, and their holes filled in, each by one
    slice.
    """
    alphas = question.alphas
    (before, after) = served.classes_as_json
    one = [*_BEFORE_CLASSES, *_CLASS * (question.top_k - 1), *_LAST_CLASS]
    pieces = one * len(alphas)
    step = len(one)
    those = slice(first, first + len(alphas))
    pieces[_ALPHA::step] = orjson.dumps(alphas)[1:-1].decode().split(",")
    for rank in range(question.top_k):
        start = len(_BEFORE_CLASSES) + rank * len(_CLASS)
        order = ranked.order[rank][those]
        pieces[start + _BEFORE :: step] = [before[index] for index in order]
        pieces[start + _PROBABILITY :: step] = ranked.probabilities[rank][those]
        pieces[start + _LOGIT :: step] = ranked.logits[rank][those]
        pieces[start + _AFTER :: step] = [after[index] for index in order]
    return orjson.Fragment(f"[{''.join(pieces)[:-1]}]".encode())  # without the last comma


def operating_point(point: PointInForce) -> dict[str, Any]:
    """Return an operating point as the API shows it."""
    return point._asdict() | {"since": None if point.since is None else iso_time(point.since)}


def json_answer(body: Any) -> Response:
    """Return a body as an answer."""
    return Response(orjson.dumps(body), media_type="application/json")


def iso_time(seconds: float) -> str:
    """Return a time, in seconds since 1970, as text that `since=` understands in an address.

    >>> iso_time(1795435200.5)
    '2026-11-23T12:00:00.500Z'
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
