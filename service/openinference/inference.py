"""What an infer request means for a model, and its answer, however the request came and however the answer leaves."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from engines.base import Float
from models.errors import ImageError
from service.context import Context
from service.errors import AlphaError, DeadlineError, RequestError, TooManyFilesError, describe
from service.inference.network_output import NetworkOutput
from service.inference.registry import ServedModel
from service.inference.worker import Source
from service.openinference.outputs import check_classes, output_tensors
from service.openinference.requests import InferRequest
from service.openinference.tensors import Tensor
from service.web.query_parameters import check_alpha_range, parse_alphas, parse_prior

__all__ = ["count_request", "infer_outputs"]

IN_PLACE_NUMBERS = 32_768  # images x classes; worked out in a millisecond


@contextmanager
def count_request(served: ServedModel) -> Iterator[None]:
    """Count a request in the model's statistics, and how long it took: as answered, or as failed."""
    started = time.perf_counter_ns()
    count = served.statistics.add_failure
    try:
        yield
        count = served.statistics.add_success
    finally:
        count(time.perf_counter_ns() - started)


async def infer_outputs(context: Context, served: ServedModel, request: InferRequest) -> list[Tensor]:
    """Return the outputs a request asks for.

    Raises:
        RequestError, AlphaError, AlphaRangeError, PriorError, TopKError, TooManyFilesError: the request makes no sense.
        ImageError: a picture cannot be read; the sentence says which.
        OverloadedError, DeadlineError, InferenceError, NotReadyError.

    """
    sources = _sources(context, served, request)
    alphas = _alphas(context, served, request, len(sources))
    shift = parse_prior(request.parameters.prior, served.bundle)
    check_classes(served, request.outputs)
    try:
        async with asyncio.timeout(request.parameters.timeout / 1e6 or None):
            answers = await _answers(context, served, sources)
    except TimeoutError as error:
        raise DeadlineError(f"not answered within the timeout of {request.parameters.timeout} microseconds") from error
    logits, head_cosine = (np.stack(part) for part in zip(*answers, strict=True))
    work = (served, request.outputs, logits, head_cosine, alphas, shift)
    if logits.size <= IN_PLACE_NUMBERS:
        return output_tensors(*work)
    return await asyncio.to_thread(output_tensors, *work)


async def _answers(context: Context, served: ServedModel, sources: Sequence[Source]) -> list[NetworkOutput]:
    """Return the network's numbers for each picture; one that is broken fails the request."""
    with context.worker.admit(len(sources)):
        computing = (context.worker.infer(served, source) for source in sources)
        answers = await asyncio.gather(*computing, return_exceptions=True)
    good: list[NetworkOutput] = []
    for index, answer in enumerate(answers):
        if isinstance(answer, ImageError):
            context.metrics.image_errors.labels(served.name, describe(answer).code).inc()
            raise type(answer)(f"input 'encoded', element {index}: {answer}")
        if isinstance(answer, BaseException):
            raise answer
        good.append(answer)
    context.metrics.images.labels(served.name).inc(len(good))
    return good


def _sources(context: Context, served: ServedModel, request: InferRequest) -> Sequence[Source]:
    """Return the pictures: files, or pixels of the model's size."""
    given = [request.inputs[name] for name in ("images", "encoded") if name in request.inputs]
    if len(given) != 1:
        raise RequestError("a request has either the input 'images' or the input 'encoded', one of the two")
    tensor = given[0]
    if tensor.shape[0] > context.settings.max_files:
        most = context.settings.max_files
        raise TooManyFilesError(f"{tensor.shape[0]} pictures, but at most {most} fit into one request; send several")
    if isinstance(tensor.elements, list):
        if tensor.shape[1:] not in {(), (1,)}:
            raise RequestError(f"input 'encoded' has shape {list(tensor.shape)}; one dimension fits, the batch")
        return tensor.elements
    recipe = served.bundle.manifest.input
    if tensor.shape[1:] != (recipe.height, recipe.width, 3):
        raise RequestError(
            f"input 'images' has shape {list(tensor.shape)}; {served.name} takes [batch, {recipe.height}, "
            f"{recipe.width}, 3], or files of any size as input 'encoded'"
        )
    return list(tensor.elements)


def _alphas(context: Context, served: ServedModel, request: InferRequest, images: int) -> Float:
    """Return (B,) the alpha of each picture."""
    tensor = request.inputs.get("alpha")
    parameter = request.parameters.alpha
    if tensor is None:
        text = () if parameter is None else (parameter if isinstance(parameter, str) else repr(float(parameter)),)
        points = context.operating_points.of(served.bundle.manifest)
        return np.full(images, parse_alphas(text, points, served.name, context.settings)[0])
    if parameter is not None:
        raise RequestError("alpha is given as a parameter and as an input; give it once")
    if tensor.shape not in {(images,), (images, 1)}:
        raise RequestError(f"input 'alpha' has shape {list(tensor.shape)}; [{images}] fits, one for each picture")
    alphas = np.asarray(tensor.elements).reshape(images)
    max_alpha = context.settings.max_alpha
    for index in np.flatnonzero(~(np.abs(alphas) <= max_alpha)):
        what = f"input 'alpha', element {index}:"
        if not np.isfinite(alphas[index]):
            raise AlphaError(f"{what} {alphas[index]:g} is not a finite number; 0 is the plain classifier")
        check_alpha_range(float(alphas[index]), max_alpha, what)
    return alphas
