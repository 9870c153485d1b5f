"""Write a trained classifier as a bundle: graph, figures, operating points, model card.

Nothing is written unless the graph gives what torch gives. Figures and the operating points `balanced` and `tail` need
labelled pictures; a bundle made without any says so and holds the points it was given.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models import tde
from models.bundle import Bundle, save_bundle
from models.manifest import FORMAT_VERSION, ClassInfo, Manifest, OperatingPoint
from models.scores import Scores
from training.bundles.model_card import model_card
from training.data.labelled_images import LabelledImages
from training.evaluation.evaluate import curve_of
from training.evaluation.evaluation_protocol import evaluate_scores
from training.evaluation.graph_scores import run_graph
from training.evaluation.manifest_metrics import manifest_metrics
from training.export.onnx_graph import compare_with_torch, normalised_head, pixels_to_compare, to_onnx
from training.export.operating_points import in_manifest_order, label_free_of_images, points_chosen_on
from training.model.classifier import Classifier
from training.model.direction import class_effect_of
from training.recipe.recipe import Recipe

__all__ = ["Trained", "write_bundle"]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained classifier and what its bundle says about it.

    Attributes:
        model: in evaluation mode, on the CPU, with a head that normalises features.
        recipe: the recipe the model was built from; its image recipe becomes the bundle's.
        mean_feature: (D,) float32.
        classes: the classes, in the order of the logits.
        provenance: the manifest's provenance, without `onnx_torch_difference` and `place`, which are added here.
        exempt_class: the index of the class that α leaves alone, or None.

    """

    model: Classifier
    recipe: Recipe
    mean_feature: Tensor
    classes: tuple[ClassInfo, ...]
    provenance: dict[str, Any]
    exempt_class: int | None = None


def write_bundle(
    folder: Path,
    trained: Trained,
    points: Mapping[str, OperatingPoint],
    images: LabelledImages | None = None,
    source: str = "",
    *,
    arguments: str = "",
    features: Tensor | None = None,
) -> Bundle:
    """Make the graph, compare it with torch, score it, choose operating points, and save the bundle.

    Nothing is written if any of this fails.

    Args:
        folder: NAME/VERSION, as `new_bundle_folder` returns it.
        trained: the classifier.
        points: the operating points that are known already. With labelled images, `balanced`, `tail` and, if it is
            missing, `label_free` are chosen on them; without images, all three must be given.
        images: labelled images, or None: the graph is then compared with torch on random pixels, and the bundle holds
            no figures.
        source: the name of the images, for people.
        arguments: the command-line arguments that score the same images again.
        features: (N, D) features of these images if they are known; otherwise the graph runs over all images.

    Raises:
        ExportError: the graph disagrees with torch, or the mean head cosine is not positive.
        models.errors.BundleError: the bundle would be invalid.

    """
    graph = to_onnx(trained.model, trained.mean_feature, trained.recipe)
    difference = compare_with_torch(
        graph, trained.model, trained.mean_feature, pixels_to_compare(images, trained.recipe)
    )
    effect = class_effect_of(normalised_head(trained.model), trained.mean_feature)
    metrics: dict[str, Any] = {}
    extra_files: dict[str, bytes] = {}
    if images is not None:
        logits, cosine = run_graph(graph, images) if features is None else _head_outputs(trained, features)
        groups = tuple(info.group for info in trained.classes)
        scores = Scores(logits, tde.head_effect(cosine, effect), images.labels, groups, trained.exempt_class)
        label_free = points.get("label_free") or label_free_of_images(cosine, source)
        points = dict(points) | {"label_free": label_free} | points_chosen_on(scores, source, _exempt_name(trained))
        protocol = evaluate_scores(scores, label_free.alpha)
        metrics = manifest_metrics(scores, protocol, trained.classes, source, arguments)
        extra_files["curve.svg"] = curve_of(folder.parent.name, scores, protocol)
    manifest = _manifest(folder, trained, points, metrics, difference)
    return _save(folder, manifest, trained, graph, effect, extra_files)


def _save(
    folder: Path,
    manifest: Manifest,
    trained: Trained,
    graph: bytes,
    effect: npt.NDArray[np.float32],
    extra_files: Mapping[str, bytes],
) -> Bundle:
    return save_bundle(
        folder,
        manifest,
        model_onnx=graph,
        readme=model_card(manifest),
        extra_files=extra_files,
        class_effect=effect,
        mean_feature=trained.mean_feature.numpy(),
        class_counts=np.array([info.training_count for info in trained.classes]),
    )


@torch.inference_mode()
def _head_outputs(trained: Trained, features: Tensor) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Run the head alone: (N, D) features -> (N, C) logits and (N, K) head cosine."""
    head = normalised_head(trained.model)
    return head(features).numpy(), head.projection(features, trained.mean_feature).numpy()


def _exempt_name(trained: Trained) -> str | None:
    return None if trained.exempt_class is None else trained.classes[trained.exempt_class].name


def _manifest(
    folder: Path,
    trained: Trained,
    points: Mapping[str, OperatingPoint],
    metrics: dict[str, Any],
    difference: float,
) -> Manifest:
    head = normalised_head(trained.model)
    return Manifest(
        format_version=FORMAT_VERSION,
        name=folder.parent.name,
        version=int(folder.name),
        task="classification",
        classes=trained.classes,
        input=trained.recipe.image_recipe,
        num_heads=head.num_heads,
        tau=head.tau,
        gamma=head.gamma,
        exempt_class=trained.exempt_class,
        operating_points=in_manifest_order(points),
        metrics=metrics,
        provenance=trained.provenance | {"onnx_torch_difference": difference, "place": _shown(folder)},
        sha256={},
    )


def _shown(folder: Path) -> str:
    """Return the folder as a user would type it: NAME/VERSION in place of an absolute path, which is private."""
    return "/".join(folder.parts[-2:]) if folder.is_absolute() else folder.as_posix()
