"""`python -m training import-official`: turn a checkpoint of the authors' code into a bundle.

The bundle gives the same TDE logits as their code, at any alpha. Their file lacks several things that a bundle needs:
class names and training counts come from `--classes`; preprocessing and a default alpha from their configuration
(`presets.py`); the mean head cosine from training pictures, if given; the metrics from labelled pictures, if given.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from models.bundle import Bundle
from models.manifest import ClassInfo, ImageRecipe, OperatingPoint
from models.sentences import first_few
from models.tde import MAX_ALPHA
from training.bundles.bundle_folders import new_bundle_folder
from training.data.class_folders import class_folder_split
from training.data.labelled_images import LabelledImages, load_images
from training.data.options import path_name
from training.errors import CheckpointError, DataError, RecipeError
from training.evaluation.evaluate import protocol_table
from training.evaluation.graph_scores import load_test_images
from training.export.operating_points import alpha_of_cosines
from training.export.write_bundle import Trained, write_bundle
from training.model.classifier import Classifier, clean_batches
from training.model.direction import clean_means
from training.official.checkpoint import OfficialCheckpoint, check_fit, read_official
from training.official.class_list import read_class_list
from training.official.presets import Preset, image_recipe_for, preset_for
from training.recipe.recipe import Recipe
from training.run.checkpoint import source_commit
from training.run.device import pick_device

__all__ = ["ImportOptions", "import_official"]

SOURCE = "github.com/KaihuaTang/Long-Tailed-Recognition.pytorch"
BATCH_PIXELS = 2_500_000  # 49 images of 224 × 224
Colour = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """The command line arguments."""

    file: Path
    classes: Path
    out: Path
    data: Path | None = None
    train_data: Path | None = None
    preset: str | None = None
    size: int | None = None
    resize: int | None = None
    mean: Colour | None = None
    std: Colour | None = None
    num_heads: int = 2
    tau: float = 16.0
    gamma: float = 1 / 32
    alpha: float | None = None
    device: str = "auto"
    command: str = ""


def import_official(options: ImportOptions) -> Bundle:
    """Write the bundle, and print a description.

    Raises:
        CheckpointError: the file contains code, or has another layout or network than the authors'.
        DataError: the class list or the pictures do not fit the checkpoint.
        RecipeError: a number is out of range, or the preprocessing is unknown.
        ExportError: the ONNX graph and torch disagree.
        models.errors.BundleError: the bundle exists already or would be invalid.

    """
    console = Console()
    place = new_bundle_folder(options.out)
    device = pick_device(options.device)
    classes = read_class_list(options.classes)
    checkpoint = read_official(options.file)
    if len(classes) != len(checkpoint.weight):
        raise DataError(
            f"--classes {options.classes}: {len(classes)} classes, but the classifier in {options.file} has "
            f"{len(checkpoint.weight)}; list each class once, in the order of the training labels"
        )
    preset = preset_for(len(classes), options.preset)
    recipe = _recipe(options, checkpoint.network, preset)
    model = _classifier(options.file, checkpoint, recipe)
    console.print(_description(options, checkpoint, recipe, preset), soft_wrap=True, highlight=False, markup=False)
    images = None
    source = ""
    if options.data:
        names = tuple(info.name for info in classes)
        images, part = load_test_images(options.data, names, recipe.image_recipe)
        source = part.files.source
        console.print(part.note, soft_wrap=True, highlight=False, markup=False)
    points = _points(options, preset, has_images=images is not None)
    if options.train_data:
        train_images, note = _training_images(options.train_data, classes, recipe.image_recipe)
        console.print(note, soft_wrap=True, highlight=False, markup=False)
        points["label_free"] = _label_free(
            model.to(device), checkpoint.mean_feature, train_images, path_name(options.train_data)
        )
    trained = Trained(
        model=model.cpu(),
        recipe=recipe,
        mean_feature=checkpoint.mean_feature,
        classes=classes,
        provenance=_provenance(options, checkpoint, preset),
    )
    bundle = write_bundle(place, trained, points, images, source)
    _report(console, bundle)
    return bundle


def _recipe(options: ImportOptions, network: str, preset: Preset) -> Recipe:
    if not (np.isfinite(options.tau) and options.tau > 0 and np.isfinite(options.gamma) and options.gamma >= 0):
        raise RecipeError(f"--tau {options.tau:g} --gamma {options.gamma:g}: tau must be above 0 and gamma at least 0")
    image_recipe = image_recipe_for(network, preset, options.size, options.resize)
    return Recipe(
        name="import-official",
        network=network,
        head="deconfounded",
        num_heads=options.num_heads,
        tau=options.tau,
        gamma=options.gamma,
        height=image_recipe.height,
        width=image_recipe.width,
        resize=image_recipe.resize,
        mean=options.mean or image_recipe.mean,
        std=options.std or image_recipe.std,
        imbalance_ratio=None,
        mean_feature="running",
    )


def _classifier(file: Path, checkpoint: OfficialCheckpoint, recipe: Recipe) -> Classifier:
    """Return the network with the weights of the checkpoint, in evaluation mode."""
    model = Classifier(recipe, len(checkpoint.weight))
    check_fit(f"{file}: feat_model, a {checkpoint.network},", checkpoint.backbone, model.backbone.state_dict())
    check_fit(f"{file}: classifier", {"weight": checkpoint.weight}, model.head.state_dict())
    model.backbone.load_state_dict(checkpoint.backbone, strict=False)  # the counters of training steps may be missing
    model.head.load_state_dict({"weight": checkpoint.weight})
    empty = (checkpoint.mean_feature.view(recipe.num_heads, -1).norm(dim=1) == 0).nonzero().flatten().tolist()
    if empty:
        raise CheckpointError(
            f"{file}: embed is zero for head {empty[0]}, so the head has no direction to remove; was the checkpoint "
            "saved before the end of the first epoch?"
        )
    return model.eval()


def _points(options: ImportOptions, preset: Preset, *, has_images: bool) -> dict[str, OperatingPoint]:
    """Return the authors' alpha as the point `authors`, and as every point if there are no pictures to tune on."""
    words = f"the authors' alpha for {preset.name}; not tuned on pictures"
    if options.alpha is not None:
        words = "given with --alpha; not tuned on pictures"
    alpha = preset.alpha if options.alpha is None else options.alpha
    if not abs(alpha) <= MAX_ALPHA:
        raise RecipeError(f"--alpha {alpha:g} must be a number from -{MAX_ALPHA:g} to {MAX_ALPHA:g}")
    names = ("authors",) if has_images else ("label_free", "balanced", "tail", "authors")
    return dict.fromkeys(names, OperatingPoint(alpha, words))


def _training_images(path: Path, classes: tuple[ClassInfo, ...], recipe: ImageRecipe) -> tuple[LabelledImages, str]:
    """Return the first training_count images by name of every class in the `train` split, and a note on the others."""
    files, notes = class_folder_split(path, "train")
    if unknown := sorted(set(files.classes) - {info.name for info in classes}):
        raise DataError(f"{files.source}: --classes lacks {len(unknown)} of these classes: {first_few(unknown)}")
    available = dict(zip(files.classes, files.class_counts.tolist(), strict=True))
    for info in classes:
        if available.get(info.name, 0) < info.training_count:
            raise DataError(
                f"{files.source}: {available.get(info.name, 0):,} pictures of {info.name}, but --classes gives a "
                f"training_count of {info.training_count:,}"
            )
    start = np.cumsum([0, *files.class_counts])
    position = {name: index for index, name in enumerate(files.classes)}
    chosen = [np.arange(info.training_count) + start[position[info.name]] for info in classes if info.training_count]
    images = load_images(files.part(np.concatenate(chosen)), recipe)
    return images, "; ".join([f"{files.source}: the first {len(images):,} of {len(files):,} pictures by name", *notes])


def _label_free(model: Classifier, mean_feature: Tensor, images: LabelledImages, source: str) -> OperatingPoint:
    """Return α = 1 / (mean over images and heads of x̂_k·d̂_k)."""
    batch = max(1, min(250, BATCH_PIXELS // (images.recipe.height * images.recipe.width)))
    _, normalised = clean_means(model, clean_batches(model, images, batch))
    if normalised is None:
        raise TypeError("the head does not normalise its features; import-official builds a head that does")
    direction = torch.nn.functional.normalize(mean_feature.view(normalised.shape), dim=1)
    words = (
        f"1 / mean head cosine of {len(images):,} images of {source}, train split: the first training_count images of "
        "each class; test labels were not used"
    )
    return OperatingPoint(alpha_of_cosines((normalised * direction).sum(dim=1).numpy()), words)


def _which_weights(checkpoint: OfficialCheckpoint, preset: Preset) -> str:
    epoch = "" if checkpoint.epoch is None else f", {checkpoint.epoch}"
    if not checkpoint.best:
        return f"last epoch{epoch}"
    chosen_on = "the test set, as their code does for CIFAR" if preset.name.startswith("cifar") else "validation"
    return f"best epoch{epoch}, chosen on {chosen_on}"


def _provenance(options: ImportOptions, checkpoint: OfficialCheckpoint, preset: Preset) -> dict[str, Any]:
    with options.file.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "imported_from": SOURCE,
        "file": options.file.name,
        "file_sha256": digest,
        "network": checkpoint.network,
        "head": "deconfounded",
        "mean_feature": "running, of the last epoch (embed)",
        "weights": _which_weights(checkpoint, preset),
        "pictures": f"as the authors test {preset.name}",
        "commit": source_commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "command": options.command,
    }


def _description(options: ImportOptions, checkpoint: OfficialCheckpoint, recipe: Recipe, preset: Preset) -> str:
    return (
        f"{options.file.name}: {checkpoint.network}, {len(checkpoint.weight)} classes, "
        f"{len(checkpoint.mean_feature)} features; weights of the {_which_weights(checkpoint, preset)}\n"
        f"K = {recipe.num_heads}, tau = {recipe.tau:g}, gamma = {recipe.gamma:g}: not in the file, so they must match "
        "its configuration\n"
        f"preprocessing of {preset.name}: shorter side to {recipe.resize}, centre {recipe.height} x {recipe.width}, "
        f"mean {_colours(recipe.mean)}, std {_colours(recipe.std)}"
    )


def _report(console: Console, bundle: Bundle) -> None:
    manifest = bundle.manifest
    if "protocol" in manifest.metrics:
        title = f"{manifest.name} version {manifest.version}, {manifest.metrics['images']:,} images"
        console.print(protocol_table(manifest.metrics["protocol"], title))
    difference = manifest.provenance["onnx_torch_difference"]
    pixels = "real images" if manifest.metrics else "random pixels"
    lines = [f"ONNX Runtime and torch differ by at most {difference:.1g} in the TDE logits of {pixels}"]
    lines += [
        f"{name:10} alpha {point.alpha:.4f}  {point.chosen_by}" for name, point in manifest.operating_points.items()
    ]
    if not manifest.metrics:
        lines.append("no metrics: pass labelled pictures with --data, or later to `evaluate --save` and `tune`")
    lines.append(f"wrote {bundle.path}; check it with: uv run python -m models check {bundle.path}")
    console.print("\n".join(lines), soft_wrap=True, highlight=False, markup=False)


def _colours(numbers: Colour) -> str:
    return " ".join(f"{number:g}" for number in numbers)
