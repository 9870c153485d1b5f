"""The shape of errors under /v2."""

from pydantic import BaseModel, Field

__all__ = ["ProtocolError"]


class ProtocolError(BaseModel):
    """The body of every error under /v2, as the Open Inference Protocol defines it."""

    error: str = Field(description="for people: what is wrong and what would work")
