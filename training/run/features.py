"""The test set's features under a run's final weights, kept in its folder, so that nobody computes them again.

RUN/test_features.safetensors: `features` (N, D) float32, `labels` (N,) int64, and what they belong to: the weights, by
their SHA-256, and the test part, by its fingerprint. Whatever only needs the head, such as comparing ways of inference,
reads no picture and runs no network.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from training.model.classifier import Classifier
from training.output_files import write_together

__all__ = ["RunFeatures", "compute_features", "load_features", "save_features", "weights_digest"]

FILE_NAME = "test_features.safetensors"


@dataclass(frozen=True)
class RunFeatures:
    """Features (N, D) float32 and labels (N,) of a run's test set."""

    features: Tensor
    labels: npt.NDArray[np.int64]


def weights_digest(model: Classifier) -> str:
    """Return the SHA-256 of all weights and buffers, names included."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@torch.inference_mode()
def compute_features(model: Classifier, batches: Iterable[Tensor], labels: npt.NDArray[np.int64]) -> RunFeatures:
    """Run a model in evaluation mode over normalised images (B, 3, H, W), each once, in the order of the labels."""
    found = [model.backbone(images).float().cpu() for images in batches]
    return RunFeatures(torch.cat([torch.empty(0, model.feature_dim), *found]), labels)


def save_features(run: Path, model: Classifier, found: RunFeatures, state: dict[str, Any]) -> None:
    """Write the features beside the checkpoint, whole or not at all."""
    tensors = {"features": found.features, "labels": torch.from_numpy(found.labels)}
    with write_together({run / FILE_NAME: save(tensors, metadata=_belong_to(model, state))}):
        pass


def load_features(run: Path, model: Classifier, state: dict[str, Any]) -> RunFeatures | None:
    """Return what is kept of these weights and the run's own test part; None where there is no such thing, or damaged.

    Args:
        run: the run's folder.
        model: with the run's final weights.
        state: of the run.

    """
    try:
        with safe_open(run / FILE_NAME, framework="pt") as file:
            if file.metadata() != _belong_to(model, state):
                return None
            return RunFeatures(file.get_tensor("features"), file.get_tensor("labels").numpy())
    except (FileNotFoundError, SafetensorError):
        return None


def _belong_to(model: Classifier, state: dict[str, Any]) -> dict[str, str]:
    return {"weights": weights_digest(model), "test": state.get("test_fingerprint") or ""}
