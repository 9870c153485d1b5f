"""`python -m training fit`: class folders and a pretrained backbone become a bundle, in minutes.

The backbone is frozen, so each picture goes through it once; the head is trained on what comes out. Everything after
that is as for a network trained here: mean feature, α, the ONNX graph held against torch, the bundle with its card.
"""

import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from models import tde
from models.bundle import Bundle
from models.manifest import ClassInfo, group_of
from models.objective import ALPHA_RANGE
from models.scores import Scores
from models.sentences import first_few
from training.data.classes import check_exempt_class
from training.data.data_set import Splits, fingerprint, open_splits
from training.data.labelled_files import LabelledFiles
from training.data.labelled_images import LabelledImages, check_no_class_lost
from training.data.options import DataOptions
from training.export.write_bundle import Trained, bundle_place, label_free_point, write_bundle
from training.fit.baselines import columns_of, print_comparison
from training.fit.extract_features import Backbone, Extracted, extract, open_backbone
from training.fit.feature_cache import FeatureCache
from training.fit.frozen_backbone import Frozen, check_features, open_frozen, weights_of
from training.fit.head_recipe import LINEAR, HeadRecipe
from training.fit.train_head import train_head
from training.model.classifier import Classifier
from training.model.direction import MIN_MEAN_COSINE, class_effect_of
from training.output_files import check_output_folder
from training.run.checkpoint import source_commit
from training.run.device import describe_hardware, pick_device, set_threads

__all__ = ["FitOptions", "fit"]


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """What the command line says.

    Attributes:
        data: the pictures.
        backbone: a name of `training.model.networks`.
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
    clock = [time.monotonic()]
    place = bundle_place(options.out)
    check_output_folder(options.cache, "--cache")
    device = pick_device(options.device)
    set_threads(options.threads, 1)
    weights = weights_of(options.backbone, options.weights)
    splits = open_splits(options.data)
    check_exempt_class(options.data, splits.train.classes)
    console.print(splits.note, markup=False, soft_wrap=True)
    changed = options.changed_input or {}
    num_classes = len(splits.train.classes)
    frozen = open_frozen(options.backbone, weights, options.head, changed, num_classes)
    train, test = _features(options, splits, frozen, device, console)
    clock.append(time.monotonic())
    cosine, mean_feature, linear = _train_heads(options, frozen.model, train)
    clock.append(time.monotonic())
    trained = Trained(
        model=frozen.model,
        recipe=frozen.recipe,
        mean_feature=mean_feature,
        classes=_classes(train.files),
        provenance=_provenance(options, frozen, splits, (train, test), device) | _seconds(clock),
        exempt_class=options.data.exempt_index(train.files.classes),
    )
    label_free = None if cosine < MIN_MEAN_COSINE else 1.0 / cosine
    scores = _scores(trained, test)
    with torch.inference_mode():
        linear_logits = linear(torch.from_numpy(test.features)).numpy()
    columns = columns_of(scores, label_free, linear_logits, train.files.class_counts)
    linear_note = _linear_recipe(options.head).sentence(len(train.files))
    print_comparison(console, columns, splits.test.source, len(scores), linear_note)
    if label_free is None:
        console.print(_no_label_free(cosine), style="yellow", soft_wrap=True)
    bundle = write_bundle(
        place,
        trained,
        {"label_free": label_free_point(cosine)},
        LabelledImages(test.files, frozen.recipe.image_recipe, None),  # decoded as far as they are looked at
        splits.test.source,
        arguments=options.data.arguments,
        features=torch.from_numpy(test.features),
    )
    clock.append(time.monotonic())
    console.print(_how_long(clock, train, test))
    return bundle


def _how_long(clock: list[float], train: Extracted, test: Extracted) -> str:
    features, heads, writing = (end - start for start, end in pairwise(clock))
    computed = train.computed + test.computed
    all_of_them = len(train.files) + len(test.files)
    kept = "" if computed == all_of_them else f", {all_of_them - computed:,} were there"
    return (
        f"features {features:.0f} s ({computed:,} images computed{kept}), "
        f"heads {heads:.0f} s, bundle {writing:.0f} s: {clock[-1] - clock[0]:.0f} s in all"
    )


def _classes(files: LabelledFiles) -> tuple[ClassInfo, ...]:
    counts = map(int, files.class_counts)
    return tuple(ClassInfo(name, count, group_of(count)) for name, count in zip(files.classes, counts, strict=True))


def _seconds(clock: list[float]) -> dict[str, int]:
    features, heads = (round(end - start) for start, end in pairwise(clock))
    return {"feature_seconds": features, "training_seconds": heads}


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
    recipe = frozen.recipe.image_recipe
    parts = []
    for files in (splits.train, splits.test):
        part = extract(
            files, recipe, cache, open_network, max_unreadable=options.data.max_unreadable, threads=options.threads
        )
        if part.unreadable:
            shown = first_few(part.unreadable, separator="; ")
            say(f"{files.source}: {len(part.unreadable)} of {len(files):,} pictures are left out: {shown}")
        parts.append(part)
    train, test = parts
    check_no_class_lost(splits.train, train.files)
    for part in parts:
        check_features(frozen, part, cache)
    return train, test


def _train_heads(options: FitOptions, model: Classifier, train: Extracted) -> tuple[float, Tensor, torch.nn.Module]:
    """Train the model's head and a linear one; return the mean head cosine, the mean feature and the linear head."""
    num_classes = len(train.files.classes)
    model.head = train_head("deconfounded", train.features, train.files.labels, num_classes, options.head)
    linear = train_head("linear", train.features, train.files.labels, num_classes, _linear_recipe(options.head))
    mean_feature = torch.from_numpy(train.features.mean(axis=0, dtype=np.float64).astype(np.float32))
    with torch.inference_mode():
        cosine = model.head.projection(torch.from_numpy(train.features), mean_feature).double().mean()
    return float(cosine), mean_feature, linear


def _linear_recipe(head: HeadRecipe) -> HeadRecipe:
    """Return the linear head's: as long as the other one, with its own learning rate and weight decay."""
    return replace(LINEAR, epochs=head.epochs, seed=head.seed)


def _scores(trained: Trained, part: Extracted) -> Scores:
    """Return the head's answers along α."""
    features = torch.from_numpy(part.features)
    head = trained.model.head
    with torch.inference_mode():
        logits = head(features).numpy()
        cosine = head.projection(features, trained.mean_feature).numpy()
    effect = tde.head_effect(cosine, class_effect_of(head, trained.mean_feature))
    groups = tuple(info.group for info in trained.classes)
    return Scores(logits, effect, part.files.labels, groups, trained.exempt_class)


def _no_label_free(cosine: float) -> str:
    return (
        f"The mean head cosine of the training set is {cosine:.3f}, so the label-free α, 1 over it, is not defined or "
        f"beyond {ALPHA_RANGE[1]:g}, the largest that is ever chosen: use the tuned one. The bundle's point label_free "
        "is 0, the plain classifier."
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
        "test_split": options.data.split_settings if splits.is_split_off else None,
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
