"""The shapes of tuning: requests, reports and jobs."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.objective import ALPHA_RANGE, OBJECTIVES
from service.schemas.alpha import Curve
from service.schemas.common import ErrorBody, Interval, LineOf100, LineOf500
from service.schemas.parameters import TextName

__all__ = [
    "ENCODING",
    "EXAMPLES",
    "JobAnswer",
    "JobDescription",
    "LogitAdjustment",
    "TuneReport",
    "TuneRequest",
    "UnreadableImage",
]

Figures = dict[str, float | None]
ENCODING = "the encoding of file names in the zip that are not UTF-8, such as cp850; without it, such a zip is refused"
_FIGURES = "overall, many, medium, few, balanced, harmonic, geometric, worst_class; from pictures also macro_f1 and ece"


# The shipped cifar10-lt on CIFAR-10's 10,000 test pictures, figures and curve shortened.
_BEFORE = {"overall": 0.7747, "many": 0.8336, "medium": 0.539, "few": None, "balanced": 0.7747}
_AFTER = {"overall": 0.856, "many": 0.8501, "medium": 0.8795, "few": None, "balanced": 0.856}
_GAIN = {"overall": 0.0813, "many": 0.0165, "medium": 0.3405, "few": None, "balanced": 0.0813}
_RIVAL = {"overall": 0.8593, "many": 0.8579, "medium": 0.865, "few": None, "balanced": 0.8593}
_RIVAL_GAIN = {"overall": 0.0846, "many": 0.0242, "medium": 0.326, "few": None, "balanced": 0.0846}
_REPORT: dict[str, Any] = {
    "model": "cifar10-lt",
    "version": 2,
    "source": "archive",
    "objective": "balanced",
    "constraints": ["many >= 0.85"],
    "alpha": 1.08443,
    "interval": [1.08385, 1.08501],
    "value": 0.856,
    "confidence_interval": [0.8571, 1.0884],
    "before": _BEFORE,
    "after": _AFTER,
    "gain": _GAIN,
    "cross_fitted": {"alpha": 1.0448, "overall": 0.8545, "balanced": 0.8545, "alphas": [1.0833, 1.0063]},
    "curve": {"alphas": [0.0, 1.08443], "figures": {"overall": [0.7747, 0.856]}},
    "logit_adjustment": {
        "strength": 1.2222,
        "interval": [1.2219, 1.2226],
        "value": 0.8593,
        "after": _RIVAL,
        "gain": _RIVAL_GAIN,
        "cross_fitted": {"strength": 1.2275, "overall": 0.8591, "balanced": 0.8591, "strengths": [1.2328, 1.2222]},
    },
    "images": 10000,
    "data_note": "the test split of the archive; its train split (20,431 pictures) is not used",
    "classes_without_images": 0,
    "unreadable": [],
    "unreadable_images": 0,
    "saved_as": "mine",
    "target": None,
    "label_free_alpha": None,
}
_JOB: dict[str, Any] = {
    "id": "cde72ffaced13acb89f6ca41f339b946",
    "model": "cifar10-lt",
    "version": 2,
    "state": "running",
    "done": 2053,
    "total": 10000,
    "result": None,
    "error": None,
    "created": "2026-11-26T09:18:42.041Z",
    "finished": None,
}

EXAMPLES = {"TuneReport": _REPORT, "JobDescription": _JOB}


class TuneRequest(BaseModel):
    """What to choose alpha on, what to choose it for, and whether to store it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    source: Literal["archive", "feedback", "traffic"] = Field(
        description="`feedback`: results with labels; `traffic`: recent pictures without labels",
        json_schema_extra={"enum": ["feedback", "traffic"]},
    )
    objective: str = Field("balanced", description=f"one of {', '.join(OBJECTIVES)}; not for traffic")
    constraints: Annotated[list[str], TextName("constraint")] = Field(
        default_factory=list,
        max_length=8,
        description="constraints that the chosen alpha must meet",
        examples=[["overall >= 0.7"]],
    )
    low: float = Field(ALPHA_RANGE[0], description="the lowest alpha to consider")
    high: float = Field(ALPHA_RANGE[1], description="the highest alpha to consider")
    save_as: str | None = Field(None, description="store the alpha as this operating point", examples=["today"])
    who: LineOf100 = Field("anonymous", description="who asks for it, for the history")
    why: LineOf500 = Field("", description="the reason, for the history")
    encoding: str | None = Field(None, description=f"archive only: {ENCODING}", examples=["cp850"])
    since: str | float | None = Field(
        None, description="only data since then: a time, or a number of seconds before now"
    )
    target: Literal["uniform", "train", "estimated"] | dict[str, float] = Field(
        "uniform",
        description="traffic only: the class frequencies that the mean prediction should match. `estimated`: the "
        "traffic's own, by expectation maximisation; or give a weight for every class",
    )


class LogitAdjustment(BaseModel):
    """Logit adjustment (logits − strength · log prior) tuned on the same pictures, to compare with."""

    strength: float
    interval: Interval
    value: float
    after: Figures
    gain: Figures
    cross_fitted: dict[str, Any] | None


class UnreadableImage(BaseModel):
    """A picture of the archive that was left out."""

    name: str
    error: dict[str, str]


class TuneReport(BaseModel):
    """The chosen alpha, how certain it is, and what it gains and costs."""

    model: str
    version: int
    source: Literal["archive", "feedback", "traffic"]
    objective: str
    constraints: list[str]
    alpha: float = Field(
        description="the middle of the best interval; if several are equally good, of the one nearest to 0"
    )
    interval: Interval | None = Field(description="the best interval; null for traffic")
    value: float = Field(description="the objective at this alpha; for traffic, the divergence in nats")
    confidence_interval: Interval | None = Field(
        description="95 % bootstrap interval of alpha; null for traffic, if a class has fewer than 5 pictures, "
        "or if most samples cannot meet the constraints"
    )
    before: Figures = Field(description=f"at alpha 0: {_FIGURES}; for traffic: divergence, predicted share by group")
    after: Figures = Field(description="at the chosen alpha")
    gain: Figures = Field(description="after minus before")
    cross_fitted: dict[str, Any] | None = Field(
        description="what to expect on new pictures: chosen on one half, scored on the other, averaged over both ways"
    )
    curve: Curve
    logit_adjustment: LogitAdjustment | None = Field(description="null if only labels are known, not pictures")
    images: int = Field(description="number of pictures or labels that alpha was chosen on")
    data_note: str = Field("", description="archive only: which of its pictures are used, and what is left out and why")
    classes_without_images: int = Field(description="number of classes without a picture, which no figure includes")
    unreadable: list[UnreadableImage] = Field(description="the first 100 pictures that could not be read")
    unreadable_images: int = Field(description="number of pictures that could not be read")
    saved_as: str | None = Field(description="the operating point that the alpha was stored as; null if none")
    target: dict[str, float] | None = Field(None, description="traffic only: the target prior")
    label_free_alpha: float | None = Field(None, description="traffic only: 1 / mean head cosine")


class JobDescription(BaseModel):
    """The state of a job."""

    id: str
    model: str
    version: int
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    done: int = Field(description="number of pictures processed")
    total: int = Field(description="number of pictures in total; 0 while it is unknown")
    result: TuneReport | None = Field(description="the report of a job that is done")
    error: ErrorBody | None = Field(description="the error of a job that failed")
    created: str
    finished: str | None


class JobAnswer(BaseModel):
    """The answer if a job takes longer than the request's `wait`."""

    job: JobDescription
