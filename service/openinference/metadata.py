"""Metadata, configuration, index and statistics of the server and its models, as the protocol and Triton word them."""

from collections.abc import Iterable, Mapping
from typing import Any

from service.catalog.catalog import CatalogEntry
from service.inference.registry import Registry, ServedModel
from service.openinference.signature import TensorSpec, inputs_of, outputs_of
from service.settings import Settings
from service.storage.operating_points import PointInForce

__all__ = [
    "EXTENSIONS", "model_config", "model_metadata", "model_names", "repository_index", "server_metadata",
    "statistics_of",
]  # fmt: skip

PLATFORMS = {"onnxruntime": "onnxruntime_onnx"}  # runtime -> Triton's name; the metadata show other runtimes' own names
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "statistics",
)


def server_metadata(version: str) -> dict[str, Any]:
    """Return the server's name and version, and the extensions that it has."""
    return {"name": "longtail", "version": version, "extensions": list(EXTENSIONS)}


def model_names(registry: Registry) -> dict[str, Any]:
    """Return the names of the models in service, as KServe's runtimes list them."""
    return {"models": [served.name for served in registry]}


def model_metadata(served: ServedModel, versions: Iterable[int]) -> dict[str, Any]:
    """Return a model's inputs and outputs; -1 stands for the batch dimension.

    The shapes are [-1, *dims] of the configuration, as Triton's are, though `encoded` and `alpha` may also come as [B].
    """
    manifest = served.bundle.manifest
    return {
        "name": served.name,
        "versions": [str(version) for version in versions],
        "platform": PLATFORMS.get(served.engine.runtime, served.engine.runtime),
        "inputs": [_metadata(spec) for spec in inputs_of(manifest)],
        "outputs": [_metadata(spec) for spec in outputs_of(manifest)],
    }


def model_config(served: ServedModel, points: Mapping[str, PointInForce], settings: Settings) -> dict[str, Any]:
    """Return the model's configuration: the fields of Triton's config.pbtxt that apply to this server.

    Args:
        served: the model.
        points: its operating points in force, shown as the parameters `alpha.NAME`.
        settings: limits, device and number of threads.

    """
    manifest = served.bundle.manifest
    kind = "KIND_CPU" if settings.device == "cpu" else "KIND_GPU"
    return {
        "name": served.name,
        "platform": PLATFORMS.get(served.engine.runtime, ""),
        "backend": served.engine.runtime,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": settings.max_files,
        "input": [_config(spec) | {"optional": True} for spec in inputs_of(manifest)],
        "output": [_config(spec) for spec in outputs_of(manifest)],
        "dynamic_batching": {
            "preferred_batch_size": [served.batch_policy.max_images],
            "max_queue_delay_microseconds": 0,
        },
        "instance_group": [{"name": served.name, "kind": kind, "count": settings.inference_threads}],
        "default_model_filename": served.bundle.model_path.name,
        "response_cache": {"enable": settings.cache_mb > 0},
        "parameters": {f"alpha.{name}": {"string_value": f"{point.alpha!r}"} for name, point in points.items()},
    }


def repository_index(entries: Iterable[CatalogEntry], *, only_ready: bool) -> list[dict[str, str]]:
    """Return every version that is in the models folder or in service, with its state."""
    return [
        {"name": entry.name, "version": str(entry.version), "state": entry.state, "reason": entry.reason}
        for entry in entries
        if entry.state == "READY" or not only_ready
    ]


def statistics_of(models: Iterable[ServedModel]) -> dict[str, Any]:
    """Return the statistics of these models since each was loaded."""
    return {
        "model_stats": [
            {"name": served.name, "version": str(served.version)} | served.statistics.snapshot() for served in models
        ]
    }


def _metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": [-1, *(spec.sizes or (1,))]}


def _config(spec: TensorSpec) -> dict[str, Any]:
    datatype = "TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}"
    config: dict[str, Any] = {"name": spec.name, "data_type": datatype, "dims": list(spec.sizes or (1,))}
    return config if spec.sizes else config | {"reshape": {"shape": []}}
