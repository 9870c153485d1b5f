"""The shapes of operating points and their history."""

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from service.schemas.common import LineOf100, LineOf500
from service.schemas.models import OperatingPoint

__all__ = [
    "OperatingPointChange", "OperatingPointDetail", "OperatingPointHistory",
    "OperatingPointList", "OperatingPointOrder", "OperatingPointPast", "OperatingPointRecord", "OperatingPointRemoved",
]  # fmt: skip


class OperatingPointOrder(BaseModel):
    """The new value of an operating point, and why."""

    model_config = ConfigDict(extra="forbid")

    alpha: float = Field(
        strict=True,
        allow_inf_nan=False,
        description="at least -`max_alpha` and at most `max_alpha`, a setting of the server",
    )
    chosen_by: LineOf500 = Field("set by hand", min_length=1, description="how it was chosen")
    who: LineOf100 = Field("anonymous", description="who sets it, for the history")
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

    alpha: float | None = Field(description="null if the stored point was removed", examples=[1.2])
    chosen_by: str
    who: str = Field(examples=["ada"])
    why: str
    from_alpha: float | None = Field(
        description="the alpha in force before; null if there was no such point", examples=[0.99]
    )
    time: str = Field(description="UTC", examples=["2026-11-23T12:00:00.000Z"])


class OperatingPointHistory(OperatingPointDetail):
    """One operating point and its history."""

    history: list[OperatingPointChange] = Field(description="newest change first, at most 1,000")


class OperatingPointPast(BaseModel):
    """The history of an operating point that was removed."""

    model: str = Field(examples=["cifar10-lt"])
    version: int = Field(examples=[1])
    name: str = Field(examples=["night-shift"])
    in_force: OperatingPoint | None = Field(description="always null: the name has no operating point")
    history: list[OperatingPointChange] = Field(description="newest change first, at most 1,000")


OperatingPointRecord = TypeAliasType("OperatingPointRecord", OperatingPointHistory | OperatingPointPast)


class OperatingPointRemoved(BaseModel):
    """The operating point in force after a stored one was removed."""

    model: str = Field(examples=["cifar10-lt"])
    version: int = Field(examples=[1])
    name: str = Field(examples=["balanced"])
    in_force: OperatingPoint | None = Field(description="the bundle's own point; null if it has none")
