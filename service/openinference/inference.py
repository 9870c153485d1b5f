"""The answer to an infer request for a model, whether it arrives over REST or gRPC."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from engines.base import Float
from models.errors import ImageError
from service.errors import AlphaError, DeadlineError, RequestError, TooManyFilesError, describe
from service.inference.network_output import NetworkOutput
from service.inference.registry import ServedModel
from service.inference.worker import Source, Worker
from service.metrics import Metrics
from service.openinference.outputs import check_classes, output_tensors
from service.openinference.requests import InferRequest
from service.openinference.tensors import Tensor
from service.settings import Settings
from service.storage.operating_points import PointInForce
from service.web.query_parameters import check_alpha_range, parse_alphas, parse_prior

__all__ = ["count_request", "infer_outputs"]

MAX_IN_PLACE_NUMBERS = 32_768  # images x classes, which take about a millisecond; more are computed in a thread
Points = Mapping[str, PointInForce]


@contextmanager
def count_request(served: ServedModel) -> Iterator[None]:
    """Count a request and its duration in the model's statistics, as a success or as a failure."""
    started = time.perf_counter_ns()
    count = served.statistics.add_failure
    try:
        yield
        count = served.statistics.add_success
    finally:
        count(time.perf_counter_ns() - started)


async def infer_outputs(
    served: ServedModel, request: InferRequest, worker: Worker, points: Points, settings: Settings, metrics: Metrics
) -> list[Tensor]:
    """Return the outputs that a request asks for.

    Args:
        served: the model.
        request: the parsed request.
        worker: computes the pictures.
        points: the model's operating points in force.
        settings: the limits.
        metrics: counts images and errors.

    Raises:
        RequestError, AlphaError, AlphaRangeError, PriorError, TopKError, TooManyFilesError: the request is invalid.
        ImageError: a picture cannot be decoded; the message names its element.
        OverloadedError: too many pictures are pending.
        DeadlineError: the request's timeout has passed.
        InferenceError, NotReadyError: see `Worker.infer`.

    """
    sources = _sources(served, request, settings.max_files)
    alphas = _alphas(served, request, len(sources), points, settings)
    shift = parse_prior(request.parameters.prior, served.bundle)
    check_classes(served, request.outputs)
    try:
        async with asyncio.timeout(request.parameters.timeout / 1e6 or None):
            outputs = await _network_outputs(served, sources, worker, metrics)
    except TimeoutError as error:
        raise DeadlineError(f"not answered within the timeout of {request.parameters.timeout} microseconds") from error
    logits, head_cosine = (np.stack(part) for part in zip(*outputs, strict=True))
    arguments = (served, request.outputs, logits, head_cosine, alphas, shift)
    if logits.size <= MAX_IN_PLACE_NUMBERS:
        return output_tensors(*arguments)
    return await asyncio.to_thread(output_tensors, *arguments)


async def _network_outputs(
    served: ServedModel, sources: Sequence[Source], worker: Worker, metrics: Metrics
) -> list[NetworkOutput]:
    """Return the network output for each picture; a picture that cannot be decoded fails the request."""
    with worker.admit(len(sources)):
        computing = (worker.infer(served, source) for source in sources)
        answers = await asyncio.gather(*computing, return_exceptions=True)
    outputs: list[NetworkOutput] = []
    for index, answer in enumerate(answers):
        if isinstance(answer, ImageError):
            metrics.image_errors.labels(served.name, describe(answer).code).inc()
            raise type(answer)(f"input 'encoded', element {index}: {answer}")
        if isinstance(answer, BaseException):
            raise answer
        outputs.append(answer)
    metrics.images.labels(served.name).inc(len(outputs))
    return outputs


def _sources(served: ServedModel, request: InferRequest, max_files: int) -> Sequence[Source]:
    """Return the pictures: encoded files, or pixels of the model's size."""
    tensors = [request.inputs[name] for name in ("images", "encoded") if name in request.inputs]
    if len(tensors) != 1:
        raise RequestError("a request must have exactly one of the inputs 'images' and 'encoded'")
    tensor = tensors[0]
    if tensor.shape[0] > max_files:
        raise TooManyFilesError(f"{tensor.shape[0]} pictures; one request may have at most {max_files}")
    if isinstance(tensor.elements, list):
        if tensor.shape[1:] not in {(), (1,)}:
            raise RequestError(f"input 'encoded' has shape {list(tensor.shape)}; expected [batch]")
        return tensor.elements
    recipe = served.bundle.manifest.input
    if tensor.shape[1:] != (recipe.height, recipe.width, 3):
        raise RequestError(
            f"input 'images' has shape {list(tensor.shape)}; {served.name} takes [batch, {recipe.height}, "
            f"{recipe.width}, 3], or files of any size as input 'encoded'"
        )
    return list(tensor.elements)


def _alphas(served: ServedModel, request: InferRequest, images: int, points: Points, settings: Settings) -> Float:
    """Return (B,) the alpha of each picture."""
    tensor = request.inputs.get("alpha")
    parameter = request.parameters.alpha
    if tensor is None:
        text = () if parameter is None else (parameter if isinstance(parameter, str) else repr(float(parameter)),)
        return np.full(images, parse_alphas(text, points, served.name, settings)[0])
    if parameter is not None:
        raise RequestError("alpha is given both as a parameter and as an input; give it once")
    if tensor.shape not in {(images,), (images, 1)}:
        raise RequestError(f"input 'alpha' has shape {list(tensor.shape)}; expected [{images}], one for each picture")
    alphas = np.asarray(tensor.elements).reshape(images)
    for index in np.flatnonzero(~(np.abs(alphas) <= settings.max_alpha)):
        where = f"input 'alpha', element {index}:"
        if not np.isfinite(alphas[index]):
            raise AlphaError(f"{where} {alphas[index]:g} is not a finite number; 0 is the plain classifier")
        check_alpha_range(float(alphas[index]), settings.max_alpha, where)
    return alphas
