"""What requests ask of the network output, and the answers, computed for a whole batch at once.

The network output does not depend on alpha. An `OutputQuery` says what a request wants computed from it: predictions
at some alphas, a path along alpha, or the output itself. All pictures of a batch whose queries share a function are
answered by one call, so numpy's overhead per call is paid once per batch instead of once per picture.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.errors import InferenceError
from service.inference.network_output import NetworkOutput
from service.inference.registry import ServedModel

__all__ = ["RAW_OUTPUT", "Outcome", "OutputQuery", "Waiter", "answer_waiters", "resolve"]

log = logging.getLogger("longtail.worker")
AnswerBatch = Callable[[ServedModel, NetworkOutput, Sequence[Any]], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class OutputQuery:
    """What a request wants computed from the network output for one picture.

    Args:
        answer_batch: (model, a batch's output, the parameters of each picture's query) -> the answer to each picture's
            query.
        parameters: what `answer_batch` receives for this query.
        heavy: computing the answer would block the event loop for too long, so it always happens in a thread.
        lines: number of lines in the answer, where a line is one class at one alpha.

    """

    answer_batch: AnswerBatch
    parameters: Any = None
    heavy: bool = False
    lines: int = 1


@dataclass(slots=True, eq=False)
class Waiter:
    """A pending request for a picture's answer."""

    query: OutputQuery
    future: asyncio.Future[Any]


Outcome = tuple[Waiter, Any]  # the answer, or an exception in its place


def _raw_output(_: ServedModel, output: NetworkOutput, parameters: Sequence[None]) -> list[NetworkOutput]:
    return [NetworkOutput(logits, cosine) for logits, cosine, _ in zip(*output, parameters, strict=True)]


RAW_OUTPUT = OutputQuery(_raw_output)  # (C,) logits at alpha 0 and (K,) head cosine


def answer_waiters(served: ServedModel, output: NetworkOutput, waiters: Iterable[Iterable[Waiter]]) -> list[Outcome]:
    """Return the outcome for every waiter that is still pending.

    Args:
        served: the model.
        output: (B, C) logits at alpha 0 and (B, K) head cosine.
        waiters: for each of the B pictures, the requests that wait for it.

    """
    pending = [(row, waiter) for row, of_row in enumerate(waiters) for waiter in of_row if not waiter.future.done()]
    failed: list[Outcome] = []
    if pending and not output.is_finite:
        finite = np.isfinite(np.hstack(output)).all(axis=1)
        error = InferenceError("the model's output for this picture is not finite")
        failed = [(waiter, error) for row, waiter in pending if not finite[row]]
        pending = [(row, waiter) for row, waiter in pending if finite[row]]
        log.error("model %s: the output is not finite for %d images", served.name, int((~finite).sum()))
    functions = {waiter.query.answer_batch for _, waiter in pending}
    return failed + [outcome for function in functions for outcome in _outcomes(served, output, pending, function)]


def resolve(outcomes: Iterable[Outcome]) -> None:
    """Resolve every future that is still pending; call this on the event loop."""
    for waiter, answer in outcomes:
        if waiter.future.done():
            continue
        if isinstance(answer, Exception):
            waiter.future.set_exception(answer)
        else:
            waiter.future.set_result(answer)


def _outcomes(
    served: ServedModel, output: NetworkOutput, pending: list[tuple[int, Waiter]], answer_batch: AnswerBatch
) -> list[Outcome]:
    """Return the outcomes of the queries that `answer_batch` answers."""
    rows = [row for row, waiter in pending if waiter.query.answer_batch is answer_batch]
    waiters = [waiter for _, waiter in pending if waiter.query.answer_batch is answer_batch]
    if rows != list(range(len(output.logits))):
        output = NetworkOutput(output.logits[rows], output.head_cosine[rows])
    try:
        answers = answer_batch(served, output, [waiter.query.parameters for waiter in waiters])
    except Exception as error:  # noqa: BLE001  each request reports it, and its route logs it under the request's id
        return [(waiter, error) for waiter in waiters]
    return list(zip(waiters, answers, strict=True))
