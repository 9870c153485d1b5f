"""A trained classifier, wherever it was trained, becomes a bundle: graph, figures, operating points, card.

The graph must give what torch gives, or nothing is written. Figures and the operating points chosen on labelled
pictures need such pictures; without them a bundle says so and holds the points it was given.
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
from models.errors import BundleExistsError
from models.manifest import (
    FORMAT_VERSION,
    NAME_PATTERN,
    REQUIRED_OPERATING_POINTS,
    ClassInfo,
    Manifest,
    OperatingPoint,
)
from models.scores import Scores
from training.bundles.bundle_folders import is_bundle, versions_in
from training.bundles.model_card import model_card
from training.data.labelled_images import LabelledImages
from training.errors import ExportError
from training.evaluation.evaluate import picture_of
from training.evaluation.evaluation_protocol import balanced_alpha, evaluate_scores, tail_alpha
from training.evaluation.graph_scores import run_graph
from training.evaluation.manifest_metrics import bundle_metrics
from training.export.onnx_graph import compare_with_torch, pixels_to_compare, to_onnx
from training.model.classifier import Classifier
from training.model.direction import MIN_MEAN_COSINE, class_effect_of
from training.output_files import check_output_folder
from training.recipe.recipe import Recipe

__all__ = ["Trained", "bundle_place", "label_free_alpha", "label_free_point", "write_bundle"]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained classifier and what a bundle says about it.

    Attributes:
        model: in evaluation mode, on the CPU, with a head that normalises.
        recipe: what the model was built from; its image recipe becomes the bundle's.
        mean_feature: (D,) float32.
        classes: in the order of the logits.
        provenance: everything but `onnx_torch_difference`, which is added here.
        exempt_class: the index of the class that alpha leaves alone, or None.

    """

    model: Classifier
    recipe: Recipe
    mean_feature: Tensor
    classes: tuple[ClassInfo, ...]
    provenance: dict[str, Any]
    exempt_class: int | None = None


def write_bundle(
    place: Path,
    trained: Trained,
    points: Mapping[str, OperatingPoint],
    images: LabelledImages | None = None,
    source: str = "",
    *,
    arguments: str = "",
    features: Tensor | None = None,
) -> Bundle:
    """Make the graph, hold it against torch, score it, choose operating points, and save the bundle, or write nothing.

    Args:
        place: NAME/VERSION, as of `bundle_place`.
        trained: the classifier.
        points: the operating points known already. On labelled images `balanced`, `tail` and, where it is not among
            these, `label_free` are chosen; without images these must hold all three.
        images: labelled pictures, or None: then the graph is compared with torch on random
            pixels, and the bundle holds no figures.
        source: the images' name, for people.
        arguments: of the command line that scores them again.
        features: (N, D) of these images, where somebody has computed them; else the graph is run over all of them.

    Raises:
        ExportError: a graph that disagrees with torch, or a mean head cosine that is not positive.
        models.errors.BundleError: the bundle would not be one.

    """
    graph = to_onnx(trained.model, trained.mean_feature, trained.recipe)
    pixels = pixels_to_compare(images, trained.recipe)
    difference = compare_with_torch(graph, trained.model, trained.mean_feature, pixels)
    effect = class_effect_of(trained.model.head, trained.mean_feature)
    metrics: dict[str, Any] = {}
    pictures: dict[str, bytes] = {}
    if images is not None:
        logits, cosine = run_graph(graph, images) if features is None else _head_outputs(trained, features)
        groups = tuple(info.group for info in trained.classes)
        scores = Scores(logits, tde.head_effect(cosine, effect), images.labels, groups, trained.exempt_class)
        exempt = None if trained.exempt_class is None else trained.classes[trained.exempt_class].name
        label_free = points.get("label_free") or _by_scored(cosine, source)
        points = dict(points) | _chosen_points(scores, label_free, source, exempt)
        protocol = evaluate_scores(scores, points["label_free"].alpha)
        metrics = bundle_metrics(scores, protocol, trained.classes, source, arguments)
        pictures["curve.svg"] = picture_of(place.parent.name, scores, protocol)
    manifest = _manifest(place, trained, points, metrics, difference)
    counts = np.array([info.training_count for info in trained.classes])
    arrays = {"class_effect": effect, "mean_feature": trained.mean_feature.numpy(), "class_counts": counts}
    return save_bundle(place, manifest, model_onnx=graph, readme=model_card(manifest), extra_files=pictures, **arrays)


@torch.inference_mode()
def _head_outputs(trained: Trained, features: Tensor) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(N, D) features -> (N, C) logits and (N, K) head cosine."""
    head = trained.model.head
    return head(features).numpy(), head.projection(features, trained.mean_feature).numpy()


def _manifest(
    place: Path,
    trained: Trained,
    points: Mapping[str, OperatingPoint],
    metrics: dict[str, Any],
    difference: float,
) -> Manifest:
    head = trained.model.head
    return Manifest(
        format_version=FORMAT_VERSION,
        name=place.parent.name,
        version=int(place.name),
        task="classification",
        classes=trained.classes,
        input=trained.recipe.image_recipe,
        num_heads=head.num_heads,
        tau=head.tau,
        gamma=head.gamma,
        exempt_class=trained.exempt_class,
        operating_points=_in_order(points),
        metrics=metrics,
        provenance=trained.provenance | {"onnx_torch_difference": difference, "place": _shown(place)},
        sha256={},
    )


def _shown(place: Path) -> str:
    """Return where the bundle lies as people type it; the rest of an absolute path is nobody's business."""
    return "/".join(place.parts[-2:]) if place.is_absolute() else place.as_posix()


def label_free_alpha(cosine: npt.NDArray[np.float32]) -> float:
    """Return 1 / mean head cosine; (K,) means, or (N, K)."""
    try:
        return tde.label_free_alpha(np.atleast_2d(cosine))
    except ValueError as error:
        raise ExportError(f"{error}; train longer, or with a clean mean feature") from error


def label_free_point(mean_cosine: float) -> OperatingPoint:
    """Return the point for a mean head cosine of the training set; 0, which changes nothing, where there is none."""
    if mean_cosine >= MIN_MEAN_COSINE:
        return OperatingPoint(1.0 / mean_cosine, "1 / mean head cosine of the training set; no labels used")
    return OperatingPoint(
        0.0,
        f"not defined: the mean head cosine of the training set is {mean_cosine:.3f}, and 1 over it no usable alpha; "
        "set to 0, the plain classifier",
    )


def _by_scored(cosine: npt.NDArray[np.float32], source: str) -> OperatingPoint:
    """Choose α by the (N, K) head cosines of the scored pictures, as the authors do where they have no others."""
    words = f"1 / mean head cosine of the {len(cosine):,} images of {source}; their labels were not used"
    return OperatingPoint(label_free_alpha(cosine), words)


def _chosen_points(
    scores: Scores, label_free: OperatingPoint, source: str, exempt: str | None
) -> dict[str, OperatingPoint]:
    others = scores.among_others()
    labelled = others.labelled_intervals()
    on_test = f"on the {len(others):,} images of {source}"
    if exempt is not None:
        on_test = (
            f"among the classes other than {exempt!r}, which is exempt, on their {len(others):,} images of {source}"
        )
    return {
        "label_free": label_free,
        "balanced": OperatingPoint(
            balanced_alpha(labelled), f"best mean per-class recall {on_test}; middle of the best interval"
        ),
        "tail": OperatingPoint(
            tail_alpha(labelled), f"best accuracy of the rarest group, overall no worse than at alpha 0, {on_test}"
        ),
    }


def _in_order(points: Mapping[str, OperatingPoint]) -> dict[str, OperatingPoint]:
    """Return the points with `head` added, those that every bundle has first."""
    named = {"head": OperatingPoint(0.0, "the plain classifier")} | dict(points)
    required = [name for name in REQUIRED_OPERATING_POINTS if name in named]
    return {name: named[name] for name in dict.fromkeys((*required, *named))}


def bundle_place(out: Path) -> Path:
    """Return where a new bundle goes, NAME/VERSION: as given, or the next free version of NAME.

    Raises:
        ExportError: the name is not a model's, the version is none, a file lies where a folder has to be, or it would
            lie within another model.
        TrainingError: nothing can be written there.
        models.errors.BundleExistsError: there is one already.

    """
    versioned = out.name.isascii() and out.name.isdecimal()
    if not NAME_PATTERN.fullmatch(out.parent.name if versioned else out.name):
        raise ExportError(
            f"--out {out}: a model's name is of small letters, digits, '.', '_' and '-', such as cifar10-lt"
        )
    if versioned and out.name.startswith("0"):
        raise ExportError(f"--out {out}: {out.name} is no version; they are 1, 2, 3, ..., without zeros before them")
    if file := next((place for place in (out, *out.parents) if place.exists() and not place.is_dir()), None):
        raise ExportError(f"--out {out}: {file} is a file; a bundle is a folder, NAME/VERSION, such as cifar10-lt/1")
    _check_outside_models(out, out.parent if versioned else out)
    check_output_folder(out.parent if versioned else out, "--out")
    if versioned:
        if out.exists() or out.is_symlink():
            raise BundleExistsError(f"{out} is there already; delete it, or save as another version")
        return out
    taken = [int(folder.name) for folder in out.iterdir() if folder.name.isdecimal()] if out.is_dir() else []
    return out / str(max(taken, default=0) + 1)


def _check_outside_models(out: Path, model: Path) -> None:
    """Refuse a model that would lie in a bundle, or beside the versions of another model."""
    if bundle := next(filter(is_bundle, (model, *model.parents)), None):
        raise ExportError(f"--out {out}: {bundle} is a bundle itself; a new one lies beside it, NAME/VERSION")
    if versions := versions_in(model.parent):
        raise ExportError(
            f"--out {out}: {model.parent} holds versions of a model; a version is a number, such as "
            f"{model.parent / str(versions[-1] + 1)}"
        )
