"""The shapes of operating points and of their history, as the documentation page shows them."""

from pydantic import BaseModel, ConfigDict, Field

from service.schemas.common import LineOf100, LineOf500
from service.schemas.models import OperatingPoint

__all__ = [
    "OperatingPointChange", "OperatingPointDetail", "OperatingPointHistory",
    "OperatingPointList", "OperatingPointOrder", "OperatingPointPast", "OperatingPointRemoved",
]  # fmt: skip


class OperatingPointOrder(BaseModel):
    """What an operating point is to be."""

    model_config = ConfigDict(extra="forbid")

    alpha: float = Field(strict=True, allow_inf_nan=False, description="at most the server's `max_alpha`")
    chosen_by: LineOf500 = Field("set by hand", min_length=1, description="how it was chosen")
    who: LineOf100 = Field("anonymous", description="who asks for it")
    why: LineOf500 = Field("", description="the reason, for the history")


class OperatingPointList(BaseModel):
    """The operating points in force."""

    model: str = Field(examples=["cifar10-lt"])
    version: int = Field(examples=[1])
    operating_points: dict[str, OperatingPoint]


class OperatingPointDetail(OperatingPoint):
    """One operating point in force."""

    model: str = Field(examples=["cifar10-lt"])
    version: int = Field(examples=[1])
    name: str = Field(examples=["balanced"])


class OperatingPointChange(BaseModel):
    """One change of a point."""

    alpha: float | None = Field(description="null: the stored point was removed", examples=[1.2])
    chosen_by: str
    who: str = Field(examples=["ada"])
    why: str
    from_alpha: float | None = Field(description="in force before; null: there was no such point", examples=[0.99])
    time: str = Field(description="UTC", examples=["2026-11-23T12:00:00.000Z"])


class OperatingPointHistory(OperatingPointDetail):
    """One operating point and how it came about."""

    history: list[OperatingPointChange] = Field(description="newest first, at most 1,000")


class OperatingPointPast(BaseModel):
    """A point that was removed, and how that came about."""

    model: str = Field(examples=["cifar10-lt"])
    version: int = Field(examples=[1])
    name: str = Field(examples=["night-shift"])
    in_force: None = Field(description="nothing")
    history: list[OperatingPointChange] = Field(description="newest first, at most 1,000")


class OperatingPointRemoved(BaseModel):
    """What a name means once what was stored under it is gone."""

    model: str = Field(examples=["cifar10-lt"])
    version: int = Field(examples=[1])
    name: str = Field(examples=["balanced"])
    in_force: OperatingPoint | None = Field(description="the bundle's own point, or null where it has none")
