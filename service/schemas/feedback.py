"""The shapes of feedback: labels sent for results, and their summary."""

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from service.schemas.common import Bounds, ErrorBody, Group, Interval

__all__ = [
    "FeedbackAnswer", "FeedbackAnswers", "FeedbackEntry", "FeedbackFailure", "FeedbackItem", "FeedbackOutcome",
    "FeedbackRequest", "FeedbackResponse", "FeedbackSummary",
]  # fmt: skip


ClassLabel = TypeAliasType("ClassLabel", str | int)


class FeedbackItem(BaseModel):
    """The right class of one result."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(description="the id of a result of classify", examples=["01a20dac039c7aa3912d77855a3cfdb1"])
    label: ClassLabel = Field(description="the name of the class, or its index", examples=["truck"])


class FeedbackEntry(FeedbackItem):
    """A label in a list; an entry that is not a label gets an error of its own in the answer."""


FeedbackRequest = TypeAliasType("FeedbackRequest", FeedbackItem | list[FeedbackEntry])


class Label(BaseModel):
    """A class."""

    index: int = Field(examples=[9])
    name: str = Field(examples=["truck"])


class FeedbackAnswer(BaseModel):
    """A label that is stored."""

    id: str = Field(description="the result's id", examples=["01a20dac039c7aa3912d77855a3cfdb1"])
    model: str = Field(examples=["cifar10-lt"])
    version: int = Field(examples=[1])
    label: Label
    interval: Interval | None = Field(
        description="the alphas at which the label is the top class, null for an unbounded end; null if there are none",
        examples=[[0.31, None]],
    )


class FeedbackFailure(BaseModel):
    """A label of a list that could not be stored, although others may have been."""

    id: str | None
    error: ErrorBody


FeedbackOutcome = TypeAliasType("FeedbackOutcome", FeedbackAnswer | FeedbackFailure)


class FeedbackAnswers(BaseModel):
    """The answer to a list of labels."""

    results: list[FeedbackOutcome] = Field(description="one per label, in the order of the request")


FeedbackResponse = TypeAliasType("FeedbackResponse", FeedbackAnswer | FeedbackAnswers)


class FeedbackOptimum(BaseModel):
    """The alpha at which mean per-class recall is highest."""

    alpha: float = Field(examples=[1.2])
    interval: Bounds = Field(description="the interval of alpha with the same recall", examples=[[1.1, 1.3]])
    balanced: float = Field(description="mean per-class recall at this alpha, 0 to 1", examples=[0.83])


class InForce(BaseModel):
    """The operating point that drift is measured against."""

    name: str = Field(examples=["balanced"])
    alpha: float = Field(examples=[0.99])


class FeedbackAccuracy(BaseModel):
    """Mean recall of each group's classes, 0 to 1; a group without a label is absent."""

    in_force: dict[Group, float] = Field(description="at the alpha in force", examples=[{"many": 0.77, "few": 0.8}])
    at_zero: dict[Group, float] = Field(description="at alpha 0", examples=[{"many": 0.79, "few": 0.3}])


class PredictionShares(BaseModel):
    """The share of recent pictures that were predicted as a class of each group."""

    images: int = Field(description="number of results kept", examples=[10000])
    many: float | None = Field(None, description="share of the pictures, 0 to 1; absent if the model has no such class")
    medium: float | None = None
    few: float | None = None
    at_zero: dict[Group, float] = Field(description="the same shares at alpha 0")


class FeedbackSummary(BaseModel):
    """A summary of the labels of a model."""

    model: str = Field(examples=["cifar10-lt"])
    version: int = Field(examples=[1])
    labels: int = Field(description="number of labels stored since the time asked for", examples=[1234])
    by_group: dict[Group, int] = Field(description="number of labels by the group of the labelled class")
    last: int = Field(description="number of the newest labels that the optimum is computed from", examples=[1000])
    optimum: FeedbackOptimum | None = Field(description="null if there are no labels")
    in_force: InForce
    drift: float | None = Field(description="the optimum's alpha minus the alpha in force", examples=[0.21])
    accuracy: FeedbackAccuracy = Field(description="measured on the same labels as the optimum")
    predictions: PredictionShares
