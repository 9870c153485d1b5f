"""What alpha is chosen from and for, what comes of it, and jobs."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.objective import ALPHA_RANGE, OBJECTIVES
from service.schemas.alpha import Curve
from service.schemas.common import ErrorBody, LineOf100, LineOf500

__all__ = [
    "JobAnswer",
    "JobDescription",
    "LogitAdjustment",
    "TuneOrder",
    "TuneReport",
    "TuneRequest",
    "UnreadableImage",
]

Interval = Annotated[list[float | None], Field(min_length=2, max_length=2)]
Figures = dict[str, float | None]
_FIGURES = "overall, many, medium, few, balanced, harmonic, geometric, worst_class; from pictures also macro_f1 and ece"


# The shipped cifar10-lt on CIFAR-10's 10,000 test pictures, figures and curve shortened.
_BEFORE = {"overall": 0.7167, "many": 0.792, "medium": 0.4155, "few": None, "balanced": 0.7167}
_AFTER = {"overall": 0.8096, "many": 0.8026, "medium": 0.8375, "few": None, "balanced": 0.8096}
_GAIN = {"overall": 0.0929, "many": 0.0106, "medium": 0.422, "few": None, "balanced": 0.0929}
_RIVAL = {"overall": 0.8169, "many": 0.8065, "medium": 0.8585, "few": None, "balanced": 0.8169}
_RIVAL_GAIN = {"overall": 0.1002, "many": 0.0145, "medium": 0.443, "few": None, "balanced": 0.1002}
_REPORT: dict[str, Any] = {
    "model": "cifar10-lt",
    "version": 1,
    "source": "archive",
    "objective": "balanced",
    "constraints": ["many >= 0.8"],
    "alpha": 0.98918,
    "interval": [0.98904, 0.98931],
    "value": 0.8096,
    "confidence_interval": [0.8195, 1.0316],
    "before": _BEFORE,
    "after": _AFTER,
    "gain": _GAIN,
    "cross_fitted": {"alpha": 0.9777, "overall": 0.807, "balanced": 0.807, "alphas": [1.0316, 0.9237]},
    "curve": {"alphas": [0.0, 0.98918], "figures": {"overall": [0.7167, 0.8096]}},
    "logit_adjustment": {
        "strength": 1.1018,
        "interval": [1.1016, 1.1019],
        "value": 0.8169,
        "after": _RIVAL,
        "gain": _RIVAL_GAIN,
        "cross_fitted": {"strength": 1.0699, "overall": 0.8145, "balanced": 0.8145, "strengths": [1.113, 1.0267]},
    },
    "images": 10000,
    "classes_without_images": 0,
    "unreadable": [],
    "unreadable_images": 0,
    "saved_as": "mine",
    "target": None,
    "label_free_alpha": None,
}
_JOB: dict[str, Any] = {
    "id": "cff1c9732141f615c166b041ae24a4ac",
    "model": "cifar10-lt",
    "version": 1,
    "state": "running",
    "done": 4449,
    "total": 10000,
    "result": None,
    "error": None,
    "created": "2026-11-24T13:53:30.919Z",
    "finished": None,
}


class TuneOrder(BaseModel):
    """What to choose alpha for, and what to do with it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    objective: str = Field("balanced", description=f"one of {', '.join(OBJECTIVES)}; not for traffic")
    constraints: list[str] = Field(
        default_factory=list, max_length=8, description="that must hold", examples=[["overall >= 0.7"]]
    )
    low: float = Field(ALPHA_RANGE[0], description="least alpha looked at")
    high: float = Field(ALPHA_RANGE[1], description="largest alpha looked at")
    save_as: str | None = Field(None, description="store the alpha as this operating point", examples=["today"])
    who: LineOf100 = Field("anonymous", description="for the history")
    why: LineOf500 = Field("", description="for the history")


class TuneRequest(TuneOrder):
    """What to choose alpha from, without an archive."""

    source: Literal["feedback", "traffic"] = Field(description="labels that came back, or pictures without labels")
    since: str | float | None = Field(None, description="only what came since: a time, or so many seconds ago")
    target: Literal["uniform", "train", "estimated"] | dict[str, float] = Field(
        "uniform",
        description="traffic only: the class frequencies its mean prediction is to come closest to; `estimated`: "
        "the traffic's own, by expectation maximisation; or a weight for every class",
    )


class LogitAdjustment(BaseModel):
    """The rival, tuned on the same pictures by the same code: logits − strength · log prior."""

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
    """The chosen alpha, how sure it is, and what it gains and costs."""

    model_config = ConfigDict(json_schema_extra={"example": _REPORT})

    model: str
    version: int
    source: Literal["archive", "feedback", "traffic"]
    objective: str
    constraints: list[str]
    alpha: float = Field(description="the middle of the best interval, nearest to 0 where several are equally good")
    interval: Interval | None = Field(description="the whole best interval; null for traffic")
    value: float = Field(description="the objective there; for traffic the divergence in nats")
    confidence_interval: Interval | None = Field(
        description="of alpha, 95 %, bootstrap; null for traffic, for a class of fewer than 5 pictures, "
        "and where most samples meet no constraint"
    )
    before: Figures = Field(description=f"at alpha 0: {_FIGURES}; for traffic: divergence, predicted share by group")
    after: Figures = Field(description="at the chosen alpha")
    gain: Figures = Field(description="after less before")
    cross_fitted: dict[str, Any] | None = Field(
        description="what to expect: chosen on one half, scored on the other, both ways, averaged"
    )
    curve: Curve
    logit_adjustment: LogitAdjustment | None = Field(description="null where only labels are known, not pictures")
    images: int = Field(description="pictures or labels it was chosen on")
    classes_without_images: int = Field(description="how many classes none of them is of: those count in no figure")
    unreadable: list[UnreadableImage] = Field(description="the first 100 pictures that could not be read")
    unreadable_images: int = Field(description="how many there were")
    saved_as: str | None = Field(description="the operating point it was stored as")
    target: dict[str, float] | None = Field(None, description="traffic only: the target prior")
    label_free_alpha: float | None = Field(None, description="traffic only: 1 / mean head cosine")


class JobDescription(BaseModel):
    """A job as it stands."""

    model_config = ConfigDict(json_schema_extra={"example": _JOB})

    id: str
    model: str
    version: int
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    done: int = Field(description="pictures so far")
    total: int = Field(description="pictures in all; 0 while nobody knows")
    result: TuneReport | None = Field(description="once it is done")
    error: ErrorBody | None = Field(description="why it failed")
    created: str
    finished: str | None


class JobAnswer(BaseModel):
    """The answer where a job takes longer than the request wants to wait."""

    job: JobDescription
