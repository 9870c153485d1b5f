"""Every error a client can get, with its HTTP status, code and headers.

    ServiceError
    ├── ClientError     4xx: the request has to change
    ├── CapacityError   503 and 504: the same request may work later
    └── ServerError     500, 501 and 505: the server fails, or cannot do what the request asks

`models` raises errors of its own; `service/model_errors.py` gives them a status and a code. Any other
exception is an internal error. The rest of the code raises errors and never names a status.

Each class's docstring says when the error happens; docs/reference/errors.md is made from it.
"""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from service.model_errors import INTERNAL_ERROR, MODEL_ERRORS

RETRY_SOON = {"Retry-After": "1"}


class ServiceError(Exception):
    """Any error that the service raises; its message goes to the client."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    headers: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(
        cls, status: int = 500, code: str = "internal_error", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init_subclass__()
        cls.status = status
        cls.code = code
        cls.headers = headers or {}


class ClientError(ServiceError):
    """The request cannot be answered as it was sent; the message says what would work."""


class EmptyBodyError(ClientError, status=400, code="empty_body"):
    """The request has no body, or its picture is empty."""


class MultipartError(ClientError, status=400, code="bad_multipart"):
    """The form cannot be parsed, or has no pictures in `files` or no zip file in `archive`."""


class ProtocolQueryError(ClientError, status=400, code="invalid_query"):
    """A request under `/v2` has query parameters, and the protocol defines none."""


class ProtocolFieldError(ClientError, status=400, code="unknown_field"):
    """A body under `/v2` has a field or parameter that is unknown; the message has the nearest known name."""


class MalformedRequestError(ClientError, status=400, code="malformed_request"):
    """The request is not valid HTTP/1.1, or its address is not percent-encoded; the server closes the connection."""


class UnauthenticatedError(ClientError, status=401, code="unauthenticated", headers={"WWW-Authenticate": "Bearer"}):
    """The server has API keys, and the request brings none of them."""


class ForbiddenError(ClientError, status=403, code="forbidden"):
    """The request's API key lacks the scope that the message names."""


class AdminNeedsKeyError(ClientError, status=403, code="admin_needs_key"):
    """A request loads or unloads a model on a server that has no API keys and is not reached over loopback."""


class CrossSiteError(ClientError, status=403, code="cross_site"):
    """A page of another origin makes a browser send a request that may change something; only reads are allowed."""


class UnknownModelError(ClientError, status=404, code="unknown_model"):
    """The server has no model of that name; the message lists the models in service."""


class UnknownVersionError(ClientError, status=404, code="unknown_version"):
    """The model is in service, but not in that version; the message lists the versions."""


class NoCurveError(ClientError, status=404, code="no_curve"):
    """There is no accuracy curve: the bundle holds none, or there is no feedback yet."""


class UnknownJobError(ClientError, status=404, code="unknown_job"):
    """There is no job with that id, or it ended more than a day or a hundred jobs ago."""


class UnknownResultError(ClientError, status=404, code="unknown_result"):
    """There is no result with that id, or this server keeps no results."""


class UnknownOperatingPointError(ClientError, status=404, code="unknown_operating_point"):
    """The model has no operating point of that name; the message lists the names."""


class SlowClientError(ClientError, status=408, code="too_slow"):
    """A request arrives too slowly; the server closes the connection.

    Its head takes longer than `head_seconds`, or its body stays below 10 kB/s for `body_seconds`.
    """


class UploadTimeoutError(ClientError, status=408, code="upload_timeout"):
    """An archive takes more than 10 minutes to arrive."""


class ModelLoadError(ClientError, status=409, code="model_load_failed"):
    """A model cannot be loaded; the message says why, and what stays in service."""


class JobCancelledError(ClientError, status=409, code="job_cancelled"):
    """The job that the request was waiting for is cancelled."""


class VersionNotServedError(ClientError, status=409, code="version_not_served"):
    """The result that a label is for comes from a model or version that is no longer in service."""


class OperatingPointFixedError(ClientError, status=409, code="operating_point_fixed"):
    """The operating point cannot be changed: `head` is always 0, and a bundle's own point cannot be removed."""


class TooManyOperatingPointsError(ClientError, status=409, code="too_many_operating_points"):
    """The model already has 100 stored operating points."""


class ExpiredResultError(ClientError, status=410, code="expired_result"):
    """The result is no longer kept; a label it already has can be sent again, but not added or changed."""


class BodyTooLargeError(ClientError, status=413, code="body_too_large"):
    """The body exceeds `max_body_mb`, or `max_json_mb` for JSON and `max_archive_mb` for an archive."""


class AnswerTooLargeError(ClientError, status=413, code="answer_too_large"):
    """The answer to a form of several pictures exceeds 250,000 lines, one for each class, alpha and picture."""


class TooManyFilesError(ClientError, status=413, code="too_many_files"):
    """A request has more than `max_files` pictures, or an archive more than `max_archive_files`."""


class TooManyLabelsError(ClientError, status=413, code="too_many_labels"):
    """A request has more than `max_feedback` labels."""


class UnsupportedMediaTypeError(ClientError, status=415, code="unsupported_media_type"):
    """The body is not a picture or a form, to classify; not JSON, for feedback; not JSON or a form, elsewhere.

    Or it is compressed, which only infer requests under `/v2` may be.
    """


class ExpectationError(ClientError, status=417, code="expectation_failed"):
    """The request's `Expect` header asks for something other than `100-continue`."""


class RequestError(ClientError, status=422, code="invalid_request"):
    """A parameter is unknown, given twice or of the wrong type, or the body is not the JSON that the route expects."""


class AlphaError(ClientError, status=422, code="alpha_invalid"):
    """An alpha is neither a finite number nor the name of an operating point."""


class AlphaRangeError(ClientError, status=422, code="alpha_out_of_range"):
    """An alpha is outside -`max_alpha`..`max_alpha`."""


class TooManyAlphasError(ClientError, status=422, code="too_many_alphas"):
    """A request has more than `max_alphas` values of alpha."""


class TopKError(ClientError, status=422, code="top_k_out_of_range"):
    """`top_k` is below 1 or above the number of classes."""


class PriorError(ClientError, status=422, code="prior_invalid"):
    """A prior is not `train`, `uniform` or a weight for every class, or the model cannot be adjusted to one."""


class UnknownLabelError(ClientError, status=422, code="unknown_label"):
    """A label is not one of the classes of the result's model."""


class ExemptClassError(ClientError, status=422, code="exempt_class"):
    """The model has an exempt class, so the alphas at which a label wins are not a single interval."""


class OperatingPointNameError(ClientError, status=422, code="operating_point_name_invalid"):
    """An operating point cannot have that name, for example because it reads as a number."""


class ArchiveError(ClientError, status=422, code="bad_archive"):
    """The archive cannot be used as a whole.

    It is not a zip file, has a path leading out of it, a folder that is not a class or no pictures, or is a zip bomb.
    """


class TooManyUnreadableError(ClientError, status=422, code="too_many_unreadable"):
    """More than a tenth of an archive's pictures cannot be read."""


class HeadTooLargeError(ClientError, status=431, code="head_too_large"):
    """The request's address and headers exceed `max_head_kb`; the server closes the connection."""


class ClientDisconnectedError(ClientError, status=499, code="client_gone", headers={"Connection": "close"}):
    """The client closes the connection before it is answered; the code appears only in the metrics."""


class CapacityError(ServiceError):
    """The server cannot answer now; the same request may work later."""


class OverloadedError(CapacityError, status=503, code="overloaded", headers=RETRY_SOON):
    """The server has as much work as it takes at a time.

    `max_pending_images` are waiting, `max_pending_mb` of bodies are in memory, `max_connections` are open, or 8 jobs or
    4 requests about many labels are in progress.
    """


class StorageUnavailableError(CapacityError, status=503, code="storage_unavailable", headers=RETRY_SOON):
    """The database is unreachable or too slow, or a result may not have reached it yet; classification still works."""


class NotReadyError(CapacityError, status=503, code="not_ready"):
    """The server is starting or stopping, or has no model in service."""


class NotLiveError(CapacityError, status=503, code="not_live"):
    """A thread hangs or has died; the process ends soon, to be replaced."""


class JobLostError(CapacityError, status=503, code="job_lost"):
    """The process that ran the job ended before the job did."""


class DeadlineError(CapacityError, status=504, code="deadline_exceeded"):
    """The request is not answered within its own `timeout_ms`, `X-Request-Timeout` or, under `/v2`, `timeout`."""


class ServerError(ServiceError):
    """The server fails while it handles a correct request, or lacks a feature that the request needs."""


class InferenceError(ServerError, status=500, code="inference_failed"):
    """The network fails, or its output is not finite; the log has the details."""


class NotSupportedError(ServerError, status=501, code="not_supported"):
    """A request needs a protocol extension, a transfer coding or a method that this server does not have."""


class HttpVersionError(ServerError, status=505, code="http_version_not_supported"):
    """The request is neither HTTP/1.1 nor HTTP/1.0; the server closes the connection."""


class ErrorAnswer(NamedTuple):
    """What the client is told about an error."""

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = {}


def describe(error: Exception) -> ErrorAnswer:
    """Return the status, code, message and headers to answer an error with.

    An exception that is neither a `ServiceError` nor in `MODEL_ERRORS` becomes an internal error, whose message says
    nothing about the exception.
    """
    if isinstance(error, ServiceError):
        return ErrorAnswer(error.status, error.code, str(error), error.headers)
    for kind in type(error).__mro__:
        if kind in MODEL_ERRORS:
            known = MODEL_ERRORS[kind]
            return ErrorAnswer(known.status, known.code, str(error))
    message = "something went wrong on our side; the server's log has the details under this request id"
    return ErrorAnswer(INTERNAL_ERROR.status, INTERNAL_ERROR.code, message)
