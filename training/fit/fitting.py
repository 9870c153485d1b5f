"""`python -m training fit`: class folders and a pretrained backbone become a bundle, in minutes.

The backbone is frozen, so each picture goes through it once; the head is trained on what comes out. Everything after
that is as for a network trained here: mean feature, α, the ONNX graph held against torch, the bundle with its card.
"""

import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from models import tde
from models.bundle import Bundle
from models.manifest import ClassInfo, OperatingPoint, group_of
from models.objective import ALPHA_RANGE
from models.scores import Scores
from training.bundle_writing import Trained, bundle_place, write_bundle
from training.checkpoint import source_commit
from training.classifier import Classifier
from training.data.data_set import DataOptions, Splits, fingerprint, open_splits
from training.data.images import load_images
from training.device import describe_hardware, pick_device
from training.errors import DataError
from training.fit.comparison import compare, print_comparison
from training.fit.feature_cache import FeatureCache
from training.fit.features import Backbone, Extracted, extract, open_backbone
from training.fit.frozen import Frozen, check_features, open_frozen, weights_of
from training.fit.head_training import LINEAR, HeadRecipe, train_head
from training.onnx_graph import class_effect_of

__all__ = ["FitOptions", "fit"]

NO_LABEL_FREE = 1.0 / ALPHA_RANGE[1]  # a smaller mean cosine asks for an α beyond all that are ever chosen
MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """What the command line says.

    Attributes:
        data: the pictures.
        backbone: a name of `training.networks`.
        weights: file of its pretrained weights; None takes those that an installed package brings.
        out: NAME/VERSION of the new bundle, or NAME for its next version.
        cache: folder of the features.
        head: how the head is trained.
        changed_input: fields of the input recipe that are not the published ones.
        device: `auto`, `cpu` or `cuda`.
        threads: that decode and compute on the CPU; None is one for each core.
        command: for the card.
    """

    data: DataOptions
    backbone: str
    weights: Path | None
    out: Path
    cache: Path
    head: HeadRecipe = HeadRecipe()  # noqa: RUF009  frozen
    changed_input: dict[str, Any] | None = None
    device: str = "auto"
    threads: int | None = None
    command: str = ""


def fit(options: FitOptions) -> Bundle:
    """Fit, report, and write the bundle, or nothing but features.

    Raises:
        TrainingError: DataError, RecipeError, WeightsError or ExportError, see each.
        models.errors.BundleError: the place is taken.
    """
    console = Console(highlight=False)
    started = time.monotonic()
    place = bundle_place(options.out)
    if options.data.exempt_class is not None:
        raise DataError("fit knows no exempt class; train with one, or leave --exempt-class away")
    device = pick_device(options.device)
    weights = weights_of(options.backbone, options.weights)
    splits = open_splits(options.data)
    console.print(splits.note, markup=False, soft_wrap=True)
    frozen = open_frozen(
        options.backbone, weights, options.head, options.changed_input or {}, len(splits.train.classes)
    )
    train, test = _features(options, splits, frozen, device, console)
    extracted = time.monotonic()

    cosine, mean_feature, linear = _train_heads(options, frozen.model, train)
    label_free = 1.0 / cosine if cosine >= NO_LABEL_FREE else None
    trained_at = time.monotonic()
    classes = tuple(
        ClassInfo(name, int(count), group_of(int(count)))
        for name, count in zip(train.files.classes, train.files.class_counts, strict=True)
    )
    scores = _scores(frozen.model, mean_feature, test, classes)
    with torch.inference_mode():
        linear_logits = linear(torch.from_numpy(test.features)).numpy()
    columns = compare(scores, label_free, linear_logits, train.files.class_counts)
    print_comparison(console, columns, splits.test.source, len(scores))
    if label_free is None:
        console.print(_no_label_free(cosine), style="yellow", soft_wrap=True)
    provenance = _provenance(options, frozen, splits, (train, test), device) | {
        "feature_seconds": round(extracted - started),
        "training_seconds": round(trained_at - extracted),
    }
    trained = Trained(
        model=frozen.model, recipe=frozen.recipe, mean_feature=mean_feature, classes=classes, provenance=provenance
    )
    images = load_images(test.files, frozen.recipe.image_recipe)
    points = {"label_free": _label_free_point(label_free, cosine)}
    more = {"arguments": options.data.arguments, "features": torch.from_numpy(test.features)}
    bundle = write_bundle(place, trained, points, images, splits.test.source, **more)
    ended = time.monotonic()
    console.print(
        f"features {extracted - started:.0f} s ({train.computed + test.computed:,} of "
        f"{len(train.files) + len(test.files):,} images computed, the others were there), heads "
        f"{trained_at - extracted:.0f} s, bundle {ended - trained_at:.0f} s: {ended - started:.0f} s in all"
    )
    return bundle


def _features(
    options: FitOptions, splits: Splits, frozen: Frozen, device: torch.device, console: Console
) -> tuple[Extracted, Extracted]:
    """Return the features of both parts, held against torch."""

    def say(text: str) -> None:
        console.print(text, style="yellow", markup=False, soft_wrap=True)

    @lru_cache(1)
    def open_network() -> tuple[Backbone, int]:
        return open_backbone(frozen.model, frozen.recipe, device)

    decides = {
        "weights_sha256": frozen.weights_sha256,
        "input": asdict(frozen.recipe.image_recipe),
        "device": device.type,
    }
    cache = FeatureCache(options.cache, options.backbone, decides, say)
    recipe, parts = frozen.recipe.image_recipe, []
    for files in (splits.train, splits.test):
        part = extract(
            files, recipe, cache, open_network, max_unreadable=options.data.max_unreadable, threads=options.threads
        )
        if part.unreadable:
            shown = "; ".join(part.unreadable[:MOST_NAMED])
            say(f"{files.source}: {len(part.unreadable)} of {len(files):,} pictures are left out: {shown}")
        parts.append(part)
    train, test = parts
    if gone := [n for n, count in zip(train.files.classes, train.files.class_counts, strict=True) if not count]:
        raise DataError(
            f"{splits.train.source}: no picture of the class {gone[0]!r} can be read; mend one, or remove it"
        )
    check_features(frozen, test, cache)
    return train, test


def _train_heads(options: FitOptions, model: Classifier, train: Extracted) -> tuple[float, Tensor, torch.nn.Module]:
    """Train the model's head and a linear one; return the mean head cosine, the mean feature and the linear head."""
    num_classes = len(train.files.classes)
    model.head = train_head("deconfounded", train.features, train.files.labels, num_classes, options.head)
    linear = train_head(
        "linear", train.features, train.files.labels, num_classes, replace(LINEAR, seed=options.head.seed)
    )
    mean_feature = torch.from_numpy(train.features.mean(axis=0, dtype=np.float64).astype(np.float32))
    with torch.inference_mode():
        cosine = model.head.projection(torch.from_numpy(train.features), mean_feature).double().mean()
    return float(cosine), mean_feature, linear


def _scores(model: Classifier, mean_feature: Tensor, part: Extracted, classes: tuple[ClassInfo, ...]) -> Scores:
    """Return the head's answers along α."""
    features = torch.from_numpy(part.features)
    with torch.inference_mode():
        logits, cosine = model.head(features).numpy(), model.head.projection(features, mean_feature).numpy()
    effect = tde.head_effect(cosine, class_effect_of(model, mean_feature))
    return Scores(logits, effect, part.files.labels, tuple(info.group for info in classes))


def _no_label_free(cosine: float) -> str:
    return (
        f"The mean head cosine of the training set is {cosine:.3f}, so the label-free α, 1 over it, is not defined or "
        f"beyond {ALPHA_RANGE[1]:g}, the largest that is ever chosen: use the tuned one. The bundle's point label_free "
        "is 0, the plain classifier."
    )


def _label_free_point(label_free: float | None, cosine: float) -> OperatingPoint:
    """Return the point every bundle has; 0, which changes nothing, where there is no such α."""
    if label_free is not None:
        return OperatingPoint(label_free, "1 / mean head cosine of the training set; no labels used")
    return OperatingPoint(
        0.0,
        f"not defined: the mean head cosine of the training set is {cosine:.3f}, and 1 over it no usable alpha; set to "
        "0, the plain classifier",
    )


def _provenance(
    options: FitOptions, frozen: Frozen, splits: Splits, parts: tuple[Extracted, Extracted], device: torch.device
) -> dict[str, Any]:
    train, test = parts
    return {
        "recipe": "fit",
        "pretrained": frozen.weights.name,
        "pretrained_sha256": frozen.weights_sha256,
        "seed": options.head.seed,
        "data": splits.train.source,
        "test_fingerprint": fingerprint(splits.test),
        "data_note": splits.note,
        "unreadable_images": {"train": len(train.unreadable), "test": len(test.unreadable)},
        "imbalance_ratio": None,
        "epochs": options.head.epochs_for(len(train.files)),
        "learning_rate": options.head.learning_rate,
        "weight_decay": options.head.weight_decay,
        "network": options.backbone,
        "head": "deconfounded",
        "mean_feature": "clean",
        "weights": "last epoch",
        "commit": source_commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": describe_hardware(device),
        "precision": "float32",
        "command": options.command,
    }
