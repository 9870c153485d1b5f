"""`python -m training export`: a finished run becomes a bundle, or nothing is written.

The ONNX graph must give what torch gives, on real images; then it is scored on the test split, operating points are
chosen, and the bundle is saved with its card and curve (`write_bundle.py`).
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import Bundle
from models.manifest import ClassInfo, OperatingPoint
from training.data.classes import check_exempt_class
from training.data.labelled_images import MAX_PIXEL_BYTES
from training.data.options import changed_options
from training.errors import ExportError
from training.evaluation.graph_scores import load_test_images
from training.export.write_bundle import Trained, bundle_place, label_free_point, write_bundle
from training.model.heads import NormalisedHead
from training.run.run_features import load_features
from training.run.run_state import Means, RunState, load_run
from training.run.trained_model import final_means, restore_classifier

__all__ = ["export"]


def export(run: Path, out: Path, given: dict[str, Any] | None = None) -> Bundle:
    """Write the run's model as a bundle.

    Args:
        run: the folder given to `train --out`.
        out: `NAME/VERSION` of the new bundle, or `NAME` for that model's next version.
        given: fields of `DataOptions` that are not as the run was trained with, to find its test part.

    Raises:
        CheckpointError: no finished run there.
        ExportError: a head without TDE, or a graph that disagrees with torch.
        DataError: the test part cannot be read, or is not that of the run any more.
        models.errors.BundleError: the place is taken, or the name is not a bundle's.

    """
    place = bundle_place(out)
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
    found = load_features(run, model, fingerprint) if data == state.data.options else None
    images, part = load_test_images(
        data,
        names,
        recipe.image_recipe,
        kept=fingerprint,
        memory_bytes=MAX_PIXEL_BYTES if found is None else 0,  # then few are looked at: graph against torch
    )
    trained = Trained(
        model=model,
        recipe=recipe,
        mean_feature=means.mean_feature,
        classes=tuple(map(ClassInfo, names, state.data.class_counts, state.data.groups)),
        provenance=_provenance(state) | {"test_split": data.split_settings if part.is_split_off else None},
        exempt_class=data.exempt_index(names),
    )
    if found is not None and not np.array_equal(found.labels, images.labels):
        found = None  # kept of other pictures
    return write_bundle(
        place,
        trained,
        _points(state, means),
        images,
        part.files.source,
        arguments=data.arguments,
        features=None if found is None else found.features,
    )


def _points(state: RunState, means: Means) -> dict[str, OperatingPoint]:
    recipe = state.recipe
    points: dict[str, OperatingPoint] = {}
    if means.head_cosine is not None:
        points["label_free"] = label_free_point(float(means.head_cosine.mean()))
    if recipe.authors_alpha is not None:
        words = f"the authors' alpha, of recipe {recipe.name}; not tuned on any picture"
        points["authors"] = OperatingPoint(recipe.authors_alpha, words)
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
