"""`python -m training export`: write a finished run as a bundle.

The ONNX graph is compared with torch on real images. Then it is scored on the test part, operating points are chosen,
and the bundle is saved with its card and curve (`write_bundle.py`). If anything fails, nothing is written.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from models.bundle import Bundle
from models.manifest import ClassInfo, OperatingPoint, group_of
from training.bundles.bundle_folders import new_bundle_folder
from training.data.classes import check_exempt_class
from training.data.labelled_images import MAX_PIXEL_BYTES, LabelledImages
from training.data.options import changed_options
from training.errors import ExportError
from training.evaluation.graph_scores import load_test_images
from training.export.operating_points import label_free_point
from training.export.write_bundle import Trained, write_bundle
from training.model.heads import NormalisedHead
from training.run.run_features import RunFeatures, load_features
from training.run.run_state import Means, RunState, load_run
from training.run.trained_model import final_means, restore_classifier

__all__ = ["export"]


def export(run: Path, out: Path, given: dict[str, Any] | None = None) -> Bundle:
    """Write the run's model as a bundle.

    Args:
        run: the folder given to `train --out`.
        out: `NAME/VERSION` of the new bundle, or `NAME` for that model's next version.
        given: fields of `DataOptions` that differ from those of the training, to find the run's test part.

    Raises:
        CheckpointError: the folder holds no finished run.
        ExportError: the head has no TDE, or the graph disagrees with torch.
        DataError: the test part cannot be read, or is no longer that of the run.
        models.errors.BundleError: the folder exists already, or its name is not valid for a bundle.

    """
    folder = new_bundle_folder(out)
    state = load_run(run)
    recipe = state.recipe
    model = restore_classifier(state)
    means = final_means(state)
    if not isinstance(model.head, NormalisedHead):
        raise ExportError(
            f"head {recipe.head!r} does not normalise features, so TDE is not defined for it; train another head"
        )
    data = changed_options(state.data.options, given or {})
    names = state.data.classes
    check_exempt_class(data, names)
    fingerprint = state.data.test_fingerprint
    kept = load_features(run, model, fingerprint) if data == state.data.options else None
    images, part = load_test_images(
        data,
        names,
        recipe.image_recipe,
        kept=fingerprint,
        memory_bytes=MAX_PIXEL_BYTES if kept is None else 0,  # with kept features only a few images are decoded
    )
    trained = Trained(
        model=model,
        recipe=recipe,
        mean_feature=means.mean_feature,
        classes=_classes(names, state.data.class_counts),
        provenance=_provenance(state) | {"test_split": data.split_settings if part.is_split_off else None},
        exempt_class=data.exempt_index(names),
    )
    points = _points(state, means)
    features = _features_of(images, kept)
    source = part.files.source
    return write_bundle(folder, trained, points, images, source, arguments=data.arguments, features=features)


def _classes(names: tuple[str, ...], counts: Iterable[int]) -> tuple[ClassInfo, ...]:
    return tuple(ClassInfo(name, int(count), group_of(int(count))) for name, count in zip(names, counts, strict=True))


def _features_of(images: LabelledImages, kept: RunFeatures | None) -> Tensor | None:
    """Return the kept features if they belong to these images, judging by the labels."""
    return kept.features if kept is not None and np.array_equal(kept.labels, images.labels) else None


def _points(state: RunState, means: Means) -> dict[str, OperatingPoint]:
    recipe = state.recipe
    points: dict[str, OperatingPoint] = {}
    if means.head_cosine is not None:
        points["label_free"] = label_free_point(float(means.head_cosine.mean()))
    if recipe.authors_alpha is not None:
        chosen_by = f"the authors' alpha, of recipe {recipe.name}; not tuned on any picture"
        points["authors"] = OperatingPoint(recipe.authors_alpha, chosen_by)
    return points


def _provenance(state: RunState) -> dict[str, Any]:
    recipe = state.recipe
    return {
        "recipe": recipe.name,
        "seed": state.seed,
        "data": f"{state.data.name}, train split",
        "test_fingerprint": state.data.test_fingerprint or "",
        "data_note": state.data.note,
        "unreadable_images": state.data.unreadable_images,
        "imbalance_ratio": recipe.imbalance_ratio,
        "epochs": recipe.epochs,
        "network": recipe.network,
        "head": recipe.head,
        "method": recipe.method,
        "started_from": state.started_from and asdict(state.started_from),
        "mean_feature": recipe.mean_feature,
        "weights": "moving average" if recipe.ema_decay is not None else "last epoch",
        "commit": state.place.commit,
        "date": state.date,
        "hardware": state.place.hardware,
        "precision": state.place.precision,
        "training_seconds": round(state.seconds),
        "command": state.place.command,
    }
