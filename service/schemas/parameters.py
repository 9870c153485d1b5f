"""Path and query parameters with example values; the documentation page offers them and fills in the first."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Query

__all__ = [
    "FROM_ROUTE",
    "JobId",
    "ModelName",
    "ModelVersion",
    "PathFrom",
    "PathTo",
    "PointName",
    "Prior",
    "Since",
    "TextName",
    "TimeoutMs",
]

FROM_ROUTE = Depends(lambda: None)  # marks an argument that the route hands over; FastAPI does not document it


@dataclass(frozen=True)
class TextName:
    """The name of a list in a query or a form, where each of its values is a parameter of its own.

    Args:
        name: the name there; a JSON body has the list under the field's own name.

    """

    name: str


_PRIOR = """How frequent the classes are among your pictures: `train` (as in training, changes nothing), `uniform`, or a
JSON object with a weight above 0 for every class. The server adds log p_target − log p_train to the logits at every
alpha. Alpha already corrects some of the training set's imbalance; the prior adds to that. Default: `train`."""
_TRAFFIC = """{"airplane": 1, "automobile": 5, "bird": 1, "cat": 1, "deer": 1, "dog": 1, "frog": 1, "horse": 1,
"ship": 1, "truck": 20}""".replace("\n", " ")

ModelName = Annotated[
    str,
    Path(
        description="The name of a model; `GET /v1/models` lists them.",
        openapi_examples={name: {"value": name} for name in ("cifar10-lt", "cifar100-lt")},
    ),
]
ModelVersion = Annotated[
    int | None,
    Query(
        description="A version of the model; `GET /v1/models` lists those in service. Default: the highest.",
        examples=[1],
    ),
]
PointName = Annotated[
    str,
    Path(
        description="1 to 64 characters of a-z 0-9 . _ -, beginning with a letter or digit; not a number.",
        openapi_examples={
            "in every bundle": {"value": "balanced"},
            "stored": {"value": "night-shift"},
        },
    ),
]
JobId = Annotated[
    str,
    Path(
        description="The id in the answer with status 202.",
        openapi_examples={"32 hexadecimal digits": {"value": "fb9a3abc663b3c2c45d057ef3b96a9f2"}},
    ),
]
Prior = Annotated[
    str | None,
    Query(
        description=_PRIOR,
        openapi_examples={
            "as in training": {"value": "train"},
            "all equally frequent": {"value": "uniform"},
            "a road, for cifar10-lt": {"value": _TRAFFIC},
        },
    ),
]
PathFrom = Annotated[
    float | None,
    Query(
        alias="from",
        description="The alpha at which the path begins. Default: unbounded.",
        examples=[0],
    ),
]
PathTo = Annotated[
    float | None,
    Query(
        description="The alpha at which the path ends. Default: unbounded.",
        examples=[2],
    ),
]
Since = Annotated[
    str | None,
    Query(
        description="For feedback: only labels since a time (UTC without an offset) or a number of seconds ago.",
        examples=["3600", "2026-11-23T12:00:00Z"],
    ),
]
TimeoutMs = Annotated[
    float | None,
    Query(
        description="Milliseconds allowed for the answer. After that it is 504, and queued pictures are dropped.",
        examples=[500],
        json_schema_extra={"exclusiveMinimum": 0},
    ),
]
