"""The shapes that several requests and answers share: groups, errors, short texts."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

__all__ = ["Bounds", "ErrorBody", "ErrorResponse", "Group", "Interval", "LineOf100", "LineOf500"]

Group = Literal["many", "medium", "few"]
# Lists of two and no tuples: many client generators cannot read `prefixItems`.
Bounds = Annotated[list[float], Field(min_length=2, max_length=2)]
Interval = Annotated[list[float | None], Field(min_length=2, max_length=2)]


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("One line of printable characters")
    return text


LineOf100 = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
LineOf500 = Annotated[str, Field(max_length=500), AfterValidator(_printable)]


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str = Field(description="for programs; a code never changes its meaning", examples=["alpha_out_of_range"])
    message: str = Field(description="for people: what is wrong and what would work")
    request_id: str = Field(description="also in the header X-Request-ID and in the server's log")


class ErrorResponse(BaseModel):
    """The body of every error, except under /v2."""

    error: ErrorBody
