"""The shapes of labels that come back, and of what they say, as the documentation page shows them."""

from pydantic import BaseModel, ConfigDict, Field

from service.schemas.common import ErrorBody, Group

__all__ = ["FeedbackAnswer", "FeedbackAnswers", "FeedbackFailure", "FeedbackItem", "FeedbackSummary"]


class FeedbackItem(BaseModel):
    """The right answer for one result."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(description="of a result of classify", examples=["01a20dac039c7aa3912d77855a3cfdb1"])
    label: str | int = Field(description="the class's name, or its index", examples=["truck"])


class Label(BaseModel):
    """A class."""

    index: int = Field(examples=[9])
    name: str = Field(examples=["truck"])


class FeedbackAnswer(BaseModel):
    """A label that is stored."""

    id: str = Field(description="the result's", examples=["01a20dac039c7aa3912d77855a3cfdb1"])
    model: str = Field(examples=["cifar10-lt"])
    version: int = Field(examples=[1])
    label: Label
    interval: tuple[float | None, float | None] | None = Field(
        description="the alphas at which the label is the top class, null inside where unbounded; null where at none",
        examples=[[0.31, None]],
    )


class FeedbackFailure(BaseModel):
    """A label of a list that could not be stored; its neighbours were."""

    id: str | None
    error: ErrorBody


class FeedbackAnswers(BaseModel):
    """The answer to a list of labels."""

    results: list[FeedbackAnswer | FeedbackFailure] = Field(description="one per label, in the order sent")


class FeedbackOptimum(BaseModel):
    """The alpha at which mean per-class recall is highest."""

    alpha: float = Field(examples=[1.2])
    interval: tuple[float, float] = Field(description="the whole stretch that is as good", examples=[[1.1, 1.3]])
    balanced: float = Field(description="mean per-class recall there, 0 to 1", examples=[0.83])


class InForce(BaseModel):
    """The operating point that drift is measured against."""

    name: str = Field(examples=["balanced"])
    alpha: float = Field(examples=[0.99])


class FeedbackAccuracy(BaseModel):
    """Mean recall of each group's classes, 0 to 1; a group without a label is absent."""

    in_force: dict[Group, float] = Field(description="at the alpha in force", examples=[{"many": 0.77, "few": 0.8}])
    at_zero: dict[Group, float] = Field(description="at alpha 0", examples=[{"many": 0.79, "few": 0.3}])


class PredictionShares(BaseModel):
    """How many recent pictures were taken for a class of each group."""

    images: int = Field(description="pictures that are kept at present", examples=[10000])
    many: float | None = Field(None, description="share of them, 0 to 1; absent where the model has no such class")
    medium: float | None = None
    few: float | None = None
    at_zero: dict[Group, float] = Field(description="the same shares at alpha 0")


class FeedbackSummary(BaseModel):
    """What the labels that came back say."""

    model: str = Field(examples=["cifar10-lt"])
    version: int = Field(examples=[1])
    labels: int = Field(description="labels stored, since the time asked for", examples=[1234])
    by_group: dict[Group, int] = Field(description="the same by group of the labelled class")
    last: int = Field(description="newest of them that the optimum is of", examples=[1000])
    optimum: FeedbackOptimum | None = Field(description="null without labels")
    in_force: InForce
    drift: float | None = Field(description="optimum less the alpha in force", examples=[0.21])
    accuracy: FeedbackAccuracy = Field(description="by the same labels as the optimum")
    predictions: PredictionShares
