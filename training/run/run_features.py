"""The test set's features under a run's final weights, stored in the run folder so that they are computed once.

RUN/test_features.safetensors holds `features` (N, D) float32 and `labels` (N,) int64. Its metadata names the weights,
by their SHA-256, and the test part, by its fingerprint. A command that needs only the head, such as `compare`, then
reads no picture and runs no network.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

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
    """Return the SHA-256 of all weights and buffers, including their names."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@torch.inference_mode()
def compute_features(model: Classifier, batches: Iterable[Tensor], labels: npt.NDArray[np.int64]) -> RunFeatures:
    """Run a model in evaluation mode over normalised images.

    Args:
        model: the model.
        batches: (B, 3, H, W) each; every image once, in the order of the labels.
        labels: (N,) class indices.

    """
    found = [model.backbone(images).float().cpu() for images in batches]
    return RunFeatures(torch.cat([torch.empty(0, model.feature_dim), *found]), labels)


def save_features(run: Path, model: Classifier, found: RunFeatures, test_fingerprint: str | None) -> None:
    """Write the features beside the checkpoint, whole or not at all.

    Args:
        run: the run folder.
        model: the model with the run's final weights.
        found: its features of the run's test part.
        test_fingerprint: of that test part.

    """
    tensors = {"features": found.features, "labels": torch.from_numpy(found.labels)}
    with write_together({run / FILE_NAME: save(tensors, metadata=_metadata(model, test_fingerprint))}):
        pass


def load_features(run: Path, model: Classifier, test_fingerprint: str | None) -> RunFeatures | None:
    """Return the stored features; None if there are none, or they are damaged or of other weights or pictures.

    Args:
        run: the run folder.
        model: the model with the run's final weights.
        test_fingerprint: of the run's test part.

    """
    try:
        with safe_open(run / FILE_NAME, framework="pt") as file:
            if file.metadata() != _metadata(model, test_fingerprint):
                return None
            return RunFeatures(file.get_tensor("features"), file.get_tensor("labels").numpy())
    except (FileNotFoundError, SafetensorError):
        return None


def _metadata(model: Classifier, test_fingerprint: str | None) -> dict[str, str]:
    return {"weights": weights_digest(model), "test": test_fingerprint or ""}
