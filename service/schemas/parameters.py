"""What stands in paths and queries, with values to try: the documentation page offers them and fills in the first."""

from typing import Annotated

from fastapi import Path, Query

__all__ = ["JobId", "ModelName", "ModelVersion", "PathFrom", "PathTo", "PointName", "Prior", "Since"]

_PRIOR = """How frequent the classes are where the pictures come from: `train` (as in training, adds nothing),
`uniform`, or a JSON object with a weight above 0 for every class. log p_target − log p_train is added to the logits at
every alpha. Note that alpha already makes up for some of the training set's imbalance: the two add up. Default:
`train`."""
_TRAFFIC = """{"airplane": 1, "automobile": 5, "bird": 1, "cat": 1, "deer": 1, "dog": 1, "frog": 1, "horse": 1,
"ship": 1, "truck": 20}""".replace("\n", " ")

ModelName = Annotated[
    str,
    Path(
        description="One of `GET /v1/models`.",
        openapi_examples={name: {"value": name} for name in ("cifar10-lt", "cifar100-lt")},
    ),
]
ModelVersion = Annotated[
    int | None,
    Query(
        description="Which version of the model; `GET /v1/models` lists those in service. Default: the highest.",
        openapi_examples={"the highest": {}, "the first": {"value": 1}},
    ),
]
PointName = Annotated[
    str,
    Path(
        description="1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit; not a number.",
        openapi_examples={
            "of every bundle": {"value": "balanced"},
            "of one's own": {"value": "night-shift"},
        },
    ),
]
JobId = Annotated[
    str,
    Path(
        description="As the answer with 202 says.",
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
        description="Where the path begins. Default: unbounded.",
        openapi_examples={"unbounded": {}, "the plain classifier": {"value": 0}},
    ),
]
PathTo = Annotated[
    float | None,
    Query(
        description="Where it ends. Default: unbounded.",
        openapi_examples={"unbounded": {}, "twice the head effect": {"value": 2}},
    ),
]
Since = Annotated[
    str | None,
    Query(
        description="Of feedback, only labels since then: a time (UTC without an offset), or so many seconds ago.",
        openapi_examples={
            "all that are kept": {},
            "the last hour": {"value": "3600"},
            "a time": {"value": "2026-11-23T12:00:00Z"},
        },
    ),
]
TimeoutMs = Annotated[
    float | None,
    Query(
        description="Milliseconds that the answer may take; 504 after that, and what is still in line is not computed.",
        openapi_examples={"no limit": {}, "half a second": {"value": 500}},
        json_schema_extra={"exclusiveMinimum": 0},
    ),
]
