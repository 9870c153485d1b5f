"""What requests ask of the network's numbers, and the answers, worked out for a whole batch at once.

The network's numbers know no alpha. What a request wants of them (predictions at some alpha, a path along alpha, the
numbers as they are) it says with an `OutputQuery`; pictures of one batch that ask for the same thing are answered by
one call, so that numpy's price for being called is paid once a batch and not once a picture.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.errors import InferenceError
from service.inference.cache import NetworkOutput
from service.inference.registry import ServedModel

__all__ = ["AS_THEY_ARE", "Outcome", "OutputQuery", "Waiter", "is_finite", "outcomes", "settle"]

log = logging.getLogger("longtail.worker")


@dataclass(frozen=True, slots=True)
class OutputQuery:
    """What a request wants of the network's numbers for one picture.

    Args:
        finish: (model, a batch's numbers, each picture's question) -> each picture's answer.
        question: what `finish` is told of this picture's request.
        heavy: it takes long enough to hold the event loop up, so it is never worked out there.
        lines: how many lines, a class at an alpha each, the answer has.

    """

    finish: Callable[[ServedModel, NetworkOutput, Sequence[Any]], Sequence[Any]]
    question: Any = None
    heavy: bool = False
    lines: int = 1


@dataclass(slots=True, eq=False)
class Waiter:
    """Somebody who waits for a picture."""

    query: OutputQuery
    answer: asyncio.Future[Any]


Outcome = tuple[Waiter, Any]  # an answer, or the exception in its place


def _as_they_are(_: ServedModel, numbers: NetworkOutput, questions: Sequence[None]) -> list[NetworkOutput]:
    return [NetworkOutput(logits, cosine) for logits, cosine, _ in zip(*numbers, questions, strict=True)]


AS_THEY_ARE = OutputQuery(_as_they_are)  # (C,) logits at alpha 0 and (K,) head cosine


def outcomes(served: ServedModel, numbers: NetworkOutput, waiters: Iterable[Iterable[Waiter]]) -> list[Outcome]:
    """Return what comes of a batch's numbers for everybody who waits.

    Args:
        served: the model.
        numbers: (B, C) logits at alpha 0 and (B, K) head cosine.
        waiters: for each picture, the requests that wait for it.

    """
    waiting = [(row, waiter) for row, some in enumerate(waiters) for waiter in some if not waiter.answer.done()]
    spoilt: list[Outcome] = []
    if waiting and not is_finite(numbers):
        good = np.isfinite(np.hstack(numbers)).all(axis=1)
        error = InferenceError("the model gave no finite numbers for this picture")
        spoilt = [(waiter, error) for row, waiter in waiting if not good[row]]
        waiting = [(row, waiter) for row, waiter in waiting if good[row]]
        log.error("model %s gave numbers that are not finite for %d images", served.name, int((~good).sum()))
    kinds = {waiter.query.finish for _, waiter in waiting}
    return spoilt + [outcome for finish in kinds for outcome in _finished(served, numbers, waiting, finish)]


def settle(results: Iterable[Outcome]) -> None:
    """Give everybody their answer who still waits for it; on the event loop."""
    for waiter, answer in results:
        if waiter.answer.done():
            continue
        if isinstance(answer, Exception):
            waiter.answer.set_exception(answer)
        else:
            waiter.answer.set_result(answer)


def is_finite(numbers: NetworkOutput) -> bool:
    """Say whether there is neither NaN nor infinity among them."""
    return bool(np.isfinite(numbers.logits).all() and np.isfinite(numbers.head_cosine).all())


def _finished(
    served: ServedModel, numbers: NetworkOutput, waiting: list[tuple[int, Waiter]], finish: Callable[..., Sequence[Any]]
) -> list[Outcome]:
    """Return the outcomes of those who ask for one kind of thing."""
    rows = [row for row, waiter in waiting if waiter.query.finish is finish]
    waiters = [waiter for _, waiter in waiting if waiter.query.finish is finish]
    if rows != list(range(len(numbers.logits))):
        numbers = NetworkOutput(numbers.logits[rows], numbers.head_cosine[rows])
    try:
        answers = finish(served, numbers, [waiter.query.question for waiter in waiters])
    except Exception as error:  # noqa: BLE001  a fault of ours: each request reports it, and the log has it, under its own id
        return [(waiter, error) for waiter in waiters]
    return list(zip(waiters, answers, strict=True))
