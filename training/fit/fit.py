"""`python -m training fit`: make a bundle from labelled pictures and a pretrained backbone, in minutes.

The backbone is frozen, so each picture goes through it once, and the head is trained on the features. The rest is the
same as for a network trained here: mean feature, α, the ONNX graph compared with torch, the bundle with its card.
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
from torch import Tensor, nn

from models import tde
from models.bundle import Bundle
from models.manifest import ClassInfo, group_of
from models.objective import ALPHA_RANGE
from models.scores import Scores
from models.sentences import first_few
from training.bundles.bundle_folders import new_bundle_folder
from training.data.classes import check_exempt_class, describe_classes
from training.data.data_set import Splits, fingerprint, open_splits
from training.data.labelled_files import LabelledFiles
from training.data.labelled_images import LabelledImages, check_no_class_lost
from training.data.options import DataOptions
from training.evaluation.label_free import label_free_alpha
from training.export.onnx_graph import normalised_head
from training.export.operating_points import label_free_point
from training.export.write_bundle import Trained, write_bundle
from training.fit.baselines import print_methods, scored_methods
from training.fit.extract_features import Backbone, Extracted, extract, open_backbone
from training.fit.feature_cache import FeatureCache
from training.fit.frozen_backbone import Frozen, check_features, open_frozen, weights_of
from training.fit.head_recipe import LINEAR, HeadRecipe
from training.fit.train_head import train_head
from training.model.classifier import Classifier
from training.model.direction import class_effect_of
from training.output_files import check_output_folder
from training.run.checkpoint import source_commit
from training.run.device import describe_hardware, pick_device, set_threads

__all__ = ["FitOptions", "fit"]


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """The options of the command line.

    Attributes:
        data: the labelled pictures.
        backbone: a name of `training.model.networks.backbones`.
        weights: the file of its pretrained weights; None takes those that an installed package brings.
        out: NAME/VERSION of the new bundle, or NAME for its next version.
        cache: the folder that features are cached in.
        head: how the head is trained.
        changed_input: fields of the input recipe that differ from the published ones.
        device: `auto`, `cpu` or `cuda`.
        threads: the number of threads that decode and compute on the CPU; None is one for each core.
        command: the command line, for the model card.

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


@dataclass(frozen=True)
class _Heads:
    """What training the heads gave, beside the model's own head.

    Attributes:
        linear: the plain linear head.
        mean_feature: (D,) the mean training feature.
        mean_cosine: the mean head cosine of the training set.

    """

    linear: nn.Module
    mean_feature: Tensor
    mean_cosine: float


def fit(options: FitOptions) -> Bundle:
    """Train the head, print how good it is, and write the bundle. If anything fails, only features are kept.

    Raises:
        TrainingError: a DataError, RecipeError, WeightsError or ExportError, see each.
        models.errors.BundleError: the bundle's folder exists already.

    """
    console = Console(highlight=False)
    clock = [time.monotonic()]
    folder = new_bundle_folder(options.out)
    check_output_folder(options.cache, "--cache")
    device = pick_device(options.device)
    set_threads(options.threads, 1)
    weights = weights_of(options.backbone, options.weights)
    splits = open_splits(options.data)
    check_exempt_class(options.data, splits.train.classes)
    for line in (describe_classes(splits.train), splits.note):
        console.print(line, markup=False, soft_wrap=True)
    num_classes = len(splits.train.classes)
    frozen = open_frozen(options.backbone, weights, options.head, options.changed_input or {}, num_classes)
    train, test = _features(options, splits, frozen, device, console)
    clock.append(time.monotonic())
    heads = _train_heads(options.head, frozen.model, train)
    clock.append(time.monotonic())
    trained = Trained(
        model=frozen.model,
        recipe=frozen.recipe,
        mean_feature=heads.mean_feature,
        classes=_classes(train.files),
        provenance=_provenance(options, frozen, splits, (train, test), device) | _seconds(clock),
        exempt_class=options.data.exempt_index(train.files.classes),
    )
    _print_results(console, trained, heads, train, test, _linear_recipe(options.head))
    bundle = write_bundle(
        folder,
        trained,
        {"label_free": label_free_point(heads.mean_cosine)},
        LabelledImages(test.files, frozen.recipe.image_recipe, None),  # only the images to compare are decoded
        splits.test.source,
        arguments=options.data.arguments,
        features=torch.from_numpy(test.features),
    )
    clock.append(time.monotonic())
    console.print(_durations(clock, train, test))
    return bundle


def _print_results(
    console: Console, trained: Trained, heads: _Heads, train: Extracted, test: Extracted, linear_recipe: HeadRecipe
) -> None:
    """Print the table that compares the head with the baselines."""
    label_free = label_free_alpha(heads.mean_cosine)
    scores = _scores(trained, test)
    with torch.inference_mode():
        linear_logits = heads.linear(torch.from_numpy(test.features)).numpy()
    methods = scored_methods(scores, label_free, linear_logits, train.files.class_counts)
    print_methods(console, methods, test.files.source, len(scores), linear_recipe.sentence(len(train.files)))
    if label_free is None:
        console.print(
            f"The mean head cosine of the training set is {heads.mean_cosine:.3f}, so the label-free α, 1 over it, is "
            f"not defined or above {ALPHA_RANGE[1]:g}, the largest α that is ever chosen. Use the tuned α; the "
            "bundle's point label_free is 0, the plain classifier.",
            style="yellow",
            soft_wrap=True,
        )


def _durations(clock: list[float], train: Extracted, test: Extracted) -> str:
    features, heads, writing = (end - start for start, end in pairwise(clock))
    computed = train.computed + test.computed
    total = len(train.files) + len(test.files)
    cached = "" if computed == total else f", {total - computed:,} cached"
    return (
        f"features {features:.0f} s ({computed:,} images computed{cached}), "
        f"heads {heads:.0f} s, bundle {writing:.0f} s: {clock[-1] - clock[0]:.0f} s in total"
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
    """Return the features of the training and the test part, after comparing some of them with torch."""

    def warn(text: str) -> None:
        console.print(text, style="yellow", markup=False, soft_wrap=True)

    @lru_cache(1)
    def open_network() -> tuple[Backbone, int]:
        return open_backbone(frozen.model, frozen.recipe, device)

    image_recipe = frozen.recipe.image_recipe
    settings = {"weights_sha256": frozen.weights_sha256, "input": asdict(image_recipe), "device": device.type}
    cache = FeatureCache(options.cache, options.backbone, settings, warn)
    parts = []
    for files in (splits.train, splits.test):
        part = extract(
            files,
            image_recipe,
            cache,
            open_network,
            max_unreadable=options.data.max_unreadable,
            threads=options.threads,
        )
        if part.unreadable:
            warn(
                f"{files.source}: {len(part.unreadable)} of {len(files):,} pictures are left out: "
                f"{first_few(part.unreadable, separator='; ')}"
            )
        parts.append(part)
    train, test = parts
    check_no_class_lost(splits.train, train.files)
    for part in parts:
        check_features(frozen, part, cache)
    return train, test


def _train_heads(recipe: HeadRecipe, model: Classifier, train: Extracted) -> _Heads:
    """Train the model's head, which is replaced, and a plain linear head on the same features."""
    num_classes = len(train.files.classes)
    model.head = train_head("deconfounded", train.features, train.files.labels, num_classes, recipe)
    linear = train_head("linear", train.features, train.files.labels, num_classes, _linear_recipe(recipe))
    mean_feature = torch.from_numpy(train.features.mean(axis=0, dtype=np.float64).astype(np.float32))
    with torch.inference_mode():
        cosine = normalised_head(model).projection(torch.from_numpy(train.features), mean_feature)
    return _Heads(linear, mean_feature, float(cosine.double().mean()))


def _linear_recipe(head: HeadRecipe) -> HeadRecipe:
    """Return the linear head's recipe: epochs and seed of the other head, but its own learning rate and decay."""
    return replace(LINEAR, epochs=head.epochs, seed=head.seed)


def _scores(trained: Trained, part: Extracted) -> Scores:
    """Return the scores of the trained head along α."""
    features = torch.from_numpy(part.features)
    head = normalised_head(trained.model)
    with torch.inference_mode():
        logits = head(features).numpy()
        cosine = head.projection(features, trained.mean_feature).numpy()
    effect = tde.head_effect(cosine, class_effect_of(head, trained.mean_feature))
    groups = tuple(info.group for info in trained.classes)
    return Scores(logits, effect, part.files.labels, groups, trained.exempt_class)


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
