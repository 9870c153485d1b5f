"""What this server and its models say about themselves, in the protocol's words and in Triton's."""

from collections.abc import Iterable, Mapping
from typing import Any

from service.catalog.catalog import CatalogEntry
from service.inference.registry import ServedModel
from service.openinference.signature import TensorSpec, inputs_of, outputs_of
from service.settings import Settings
from service.storage.operating_points import PointInForce

__all__ = ["EXTENSIONS", "model_config", "model_metadata", "repository_index", "server_metadata", "statistics_of"]

PLATFORMS = {"onnxruntime": "onnxruntime_onnx"}  # Triton's, by runtime; the others have none, and go by their own name
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
    """Return who answers, and what of Triton's extensions it has."""
    return {"name": "longtail", "version": version, "extensions": list(EXTENSIONS)}


def model_metadata(served: ServedModel, versions: Iterable[int]) -> dict[str, Any]:
    """Return a model's inputs and outputs; -1 is the batch."""
    manifest = served.bundle.manifest
    return {
        "name": served.name,
        "versions": [str(version) for version in versions],
        "platform": PLATFORMS.get(served.engine.runtime, served.engine.runtime),
        "inputs": [_tensor(slot) for slot in inputs_of(manifest)],
        "outputs": [_tensor(slot) for slot in outputs_of(manifest)],
    }


def model_config(served: ServedModel, points: Mapping[str, PointInForce], settings: Settings) -> dict[str, Any]:
    """Return what Triton would have in config.pbtxt, as far as it means anything here.

    Args:
        served: the model.
        points: its operating points in force; they are the parameters `alpha.NAME`.
        settings: the limits, and where it is computed.

    """
    manifest = served.bundle.manifest
    kind = "KIND_CPU" if settings.device == "cpu" else "KIND_GPU"
    return {
        "name": served.name,
        "platform": PLATFORMS.get(served.engine.runtime, ""),
        "backend": served.engine.runtime,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": settings.max_files,
        "input": [_config(slot) | {"optional": True} for slot in inputs_of(manifest)],
        "output": [_config(slot) for slot in outputs_of(manifest)],
        "dynamic_batching": {
            "preferred_batch_size": [served.batch_policy.max_images],
            "max_queue_delay_microseconds": 0,
        },
        "instance_group": [{"name": served.name, "kind": kind, "count": settings.inference_threads}],
        "default_model_filename": served.bundle.model_path.name,
        "parameters": {f"alpha.{name}": {"string_value": f"{point.alpha!r}"} for name, point in points.items()},
    }


def repository_index(entries: Iterable[CatalogEntry], *, only_ready: bool) -> list[dict[str, str]]:
    """Return every version that lies in the models folder or is in service, and how it stands."""
    return [
        {"name": each.name, "version": str(each.version), "state": each.state, "reason": each.reason}
        for each in entries
        if each.state == "READY" or not only_ready
    ]


def statistics_of(models: Iterable[ServedModel]) -> dict[str, Any]:
    """Return what these models have done since each was loaded."""
    return {
        "model_stats": [
            {"name": served.name, "version": str(served.version)} | served.statistics.snapshot() for served in models
        ]
    }


def _tensor(slot: TensorSpec) -> dict[str, Any]:
    return {"name": slot.name, "datatype": slot.datatype, "shape": [-1, *slot.sizes]}


def _config(slot: TensorSpec) -> dict[str, Any]:
    datatype = "TYPE_STRING" if slot.datatype == "BYTES" else f"TYPE_{slot.datatype}"
    described: dict[str, Any] = {"name": slot.name, "data_type": datatype, "dims": list(slot.sizes or (1,))}
    return described if slot.sizes else described | {"reshape": {"shape": []}}
