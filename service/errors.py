"""The one table: what went wrong -> HTTP status -> code.

`models` raises, this file translates, nobody else knows a status.

Every error leaves as {"error": {"code", "message", "request_id"}}. The client's fault gets a sentence that says what
would work; ours gets an id, and the log everything.
"""

from models.errors import (
    ImageTooLargeError,
    InfeasibleError,
    TuningError,
    UnreadableImageError,
    UnsupportedImageError,
)

__all__ = [
    "ERRORS", "AdminNeedsKeyError", "AlphaError", "AlphaRangeError", "AnswerTooLargeError", "ArchiveError",
    "BodyTooLargeError", "ClientGoneError", "CrossSiteError", "DeadlineError", "EmptyBodyError", "ExemptClassError",
    "ExpiredResultError", "ForbiddenError", "HeadTooLargeError", "InferenceError", "JobCancelledError",
    "JobLostError", "MalformedRequestError", "ModelLoadError", "MultipartError", "NoCurveError", "NotLiveError",
    "NotReadyError", "NotSupportedError", "OperatingPointFixedError", "OperatingPointNameError", "OverloadedError",
    "PriorError", "RequestError", "ServiceError", "SlowClientError", "StorageUnavailableError", "TooManyAlphasError",
    "TooManyFilesError", "TooManyLabelsError", "TooManyOperatingPointsError", "TooManyUnreadableError", "TopKError",
    "UnauthenticatedError", "UnknownJobError", "UnknownLabelError", "UnknownModelError", "UnknownOperatingPointError",
    "UnknownResultError", "UnknownVersionError", "UnsupportedMediaTypeError", "UploadTimeoutError",
    "VersionNotServedError", "translate",
]  # fmt: skip


class ServiceError(Exception):
    """Anything the service itself refuses or fails at; the message goes to the client."""


class RequestError(ServiceError):
    """The request as a whole makes no sense."""


class UnknownModelError(ServiceError):
    """No such model."""


class UnknownVersionError(ServiceError):
    """A version of a model that is not served."""


class ModelLoadError(ServiceError):
    """A model that was asked to be loaded is refused."""


class AlphaError(ServiceError):
    """An alpha that is neither a finite number nor an operating point's name."""


class AlphaRangeError(ServiceError):
    """An alpha larger than this server allows."""


class TooManyAlphasError(ServiceError):
    """More values of alpha than this server allows in one request."""


class AnswerTooLargeError(ServiceError):
    """More pictures x alphas x classes than fit into one answer."""


class TopKError(ServiceError):
    """A top_k below 1 or above the number of classes."""


class EmptyBodyError(ServiceError):
    """No picture came with the request."""


class MultipartError(ServiceError):
    """A multipart body that cannot be parsed, or that has no `files`."""


class TooManyFilesError(ServiceError):
    """More files than this server allows in one request."""


class UnsupportedMediaTypeError(ServiceError):
    """A Content-Type that is no picture and no multipart form."""


class BodyTooLargeError(ServiceError):
    """The body exceeds the limit."""


class OverloadedError(ServiceError):
    """Too much work is waiting already."""


class NotReadyError(ServiceError):
    """The server is starting or stopping."""


class NotLiveError(ServiceError):
    """This process is beyond mending and is to be replaced."""


class InferenceError(ServiceError):
    """The network failed, or gave numbers that are not finite."""


class UnknownResultError(ServiceError):
    """No result of that id."""


class ExpiredResultError(ServiceError):
    """A result that was kept once and is no more."""


class UnknownLabelError(ServiceError):
    """A label that is no class of the model."""


class ExemptClassError(ServiceError):
    """The model has an exempt class, for which nothing along alpha is one interval."""


class VersionNotServedError(ServiceError):
    """A result of a model or a version that this server does not serve."""


class TooManyLabelsError(ServiceError):
    """More labels than this server allows in one request."""


class UnknownOperatingPointError(ServiceError):
    """The model has no operating point of that name."""


class OperatingPointNameError(ServiceError):
    """A name that no operating point may have."""


class OperatingPointFixedError(ServiceError):
    """An operating point that is the bundle's and stays."""


class TooManyOperatingPointsError(ServiceError):
    """More stored operating points than a model may have."""


class StorageUnavailableError(ServiceError):
    """The database is away, or too slow."""


class PriorError(ServiceError):
    """A prior that is neither a word we know nor a weight for every class."""


class ArchiveError(ServiceError):
    """An archive of labelled pictures that cannot be used as a whole."""


class TooManyUnreadableError(ServiceError):
    """Too large a share of an archive's pictures cannot be read."""


class NoCurveError(ServiceError):
    """There is nothing to draw accuracy against alpha from."""


class UnknownJobError(ServiceError):
    """No job of that id, or one that ended too long ago."""


class JobCancelledError(ServiceError):
    """A job was cancelled while a request waited for it."""


class UploadTimeoutError(ServiceError):
    """A large body took too long to arrive."""


class JobLostError(ServiceError):
    """The process that ran a job ended before the job did."""


class CrossSiteError(ServiceError):
    """A page of another origin makes a browser ask for a change."""


class UnauthenticatedError(ServiceError):
    """A call without an API key that this server knows."""


class ForbiddenError(ServiceError):
    """A call whose API key lacks the scope."""


class AdminNeedsKeyError(ServiceError):
    """An admin call from anywhere, to a server that has no keys."""


class ClientGoneError(ServiceError):
    """The client hung up; nobody hears the answer."""


class MalformedRequestError(ServiceError):
    """What came is no HTTP/1.1."""


class HeadTooLargeError(ServiceError):
    """A request's address and headers exceed the limit."""


class SlowClientError(ServiceError):
    """A request's head or body does not arrive in time."""


class NotSupportedError(ServiceError):
    """Something of the Open Inference Protocol that other servers have."""


class DeadlineError(ServiceError):
    """The request was not answered within the time it gave itself."""


# The first class an exception is an instance of decides.
ERRORS: dict[type[Exception], tuple[int, str]] = {
    UnknownModelError: (404, "unknown_model"),
    UnknownVersionError: (404, "unknown_version"),
    ModelLoadError: (409, "model_load_failed"),
    RequestError: (422, "invalid_request"),
    AlphaError: (422, "alpha_invalid"),
    AlphaRangeError: (422, "alpha_out_of_range"),
    TooManyAlphasError: (422, "too_many_alphas"),
    TopKError: (422, "top_k_out_of_range"),
    AnswerTooLargeError: (413, "answer_too_large"),
    EmptyBodyError: (400, "empty_body"),
    MultipartError: (400, "bad_multipart"),
    TooManyFilesError: (413, "too_many_files"),
    BodyTooLargeError: (413, "body_too_large"),
    ImageTooLargeError: (413, "image_too_large"),
    UnknownResultError: (404, "unknown_result"),
    ExpiredResultError: (410, "expired_result"),
    UnknownLabelError: (422, "unknown_label"),
    ExemptClassError: (422, "exempt_class"),
    VersionNotServedError: (409, "version_not_served"),
    TooManyLabelsError: (413, "too_many_labels"),
    UnsupportedMediaTypeError: (415, "unsupported_media_type"),
    UnsupportedImageError: (415, "unsupported_image"),
    UnreadableImageError: (422, "unreadable_image"),
    PriorError: (422, "prior_invalid"),
    ArchiveError: (422, "bad_archive"),
    TooManyUnreadableError: (422, "too_many_unreadable"),
    InfeasibleError: (422, "infeasible"),
    TuningError: (422, "cannot_tune"),
    NoCurveError: (404, "no_curve"),
    UnknownJobError: (404, "unknown_job"),
    JobCancelledError: (409, "job_cancelled"),
    UploadTimeoutError: (408, "upload_timeout"),
    JobLostError: (503, "job_lost"),
    OverloadedError: (503, "overloaded"),
    NotReadyError: (503, "not_ready"),
    NotLiveError: (503, "not_live"),
    UnknownOperatingPointError: (404, "unknown_operating_point"),
    OperatingPointNameError: (422, "operating_point_name_invalid"),
    OperatingPointFixedError: (409, "operating_point_fixed"),
    TooManyOperatingPointsError: (409, "too_many_operating_points"),
    StorageUnavailableError: (503, "storage_unavailable"),
    InferenceError: (500, "inference_failed"),
    NotSupportedError: (501, "not_supported"),
    DeadlineError: (504, "deadline_exceeded"),
    MalformedRequestError: (400, "malformed_request"),
    HeadTooLargeError: (431, "head_too_large"),
    SlowClientError: (408, "too_slow"),
    CrossSiteError: (403, "cross_site"),
    UnauthenticatedError: (401, "unauthenticated"),
    ForbiddenError: (403, "forbidden"),
    AdminNeedsKeyError: (403, "admin_needs_key"),
    ClientGoneError: (499, "client_gone"),
}


def translate(error: Exception) -> tuple[int, str, str]:
    """Return status, code and the message for the client; what the table does not know is an internal error."""
    for kind, (status, code) in ERRORS.items():
        if isinstance(error, kind):
            return status, code, str(error)
    return 500, "internal_error", "something went wrong on our side; the server's log has it under this request id"
