"""The shape of errors under /v2."""

from pydantic import BaseModel, Field

__all__ = ["ProtocolError"]


class ProtocolError(BaseModel):
    """What went wrong, as the Open Inference Protocol words it."""

    error: str = Field(description="for people: what is wrong and what would work")
