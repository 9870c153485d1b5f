"""The frozen, pretrained backbone of a fit: find its weights, build it, and check that cached features are its own."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.data.labelled_images import LabelledImages
from training.errors import RecipeError, TrainingError
from training.fit.extract_features import Extracted
from training.fit.feature_cache import FeatureCache
from training.fit.head_recipe import HeadRecipe
from training.model.classifier import Classifier, check_sizes
from training.model.networks.backbones import build_backbone, installed_weights
from training.model.networks.published_input import published_input
from training.recipe.recipe import Recipe

__all__ = ["Frozen", "check_features", "open_frozen", "weights_of"]

CHECKED_IMAGES = 8
MAX_DIFFERENCE = (
    1e-2  # of the largest feature: ONNX Runtime and torch differ by 1e-5, other weights or pixels by far more
)


@dataclass(frozen=True)
class Frozen:
    """A classifier with a pretrained backbone, in evaluation mode, whose head has yet to be trained.

    Attributes:
        model: the classifier.
        recipe: the recipe it is built from.
        weights: the file of the backbone's weights.
        weights_sha256: the sha256 of that file.

    """

    model: Classifier
    recipe: Recipe
    weights: Path
    weights_sha256: str


def weights_of(backbone: str, given: Path | None) -> Path:
    """Return the file of weights: the one given, or the one that an installed package brings.

    Raises:
        RecipeError: there is neither.

    """
    weights = given or installed_weights(backbone)
    if weights is None:
        build_backbone(backbone)  # raises a better error if the name is unknown or a package is missing
        raise RecipeError(
            f"--backbone {backbone}: no weights. `fit` does not train the backbone, so it needs pretrained weights: "
            "give a file with --weights, or train a network with `python -m training train`"
        )
    return weights


def open_frozen(
    backbone: str, weights: Path, head: HeadRecipe, changed_input: Mapping[str, Any], num_classes: int
) -> Frozen:
    """Build the classifier.

    Args:
        backbone: a name of `training.model.networks.backbones`.
        weights: the file of its weights.
        head: how the head is trained, with its K, τ and γ.
        changed_input: fields of `ImageRecipe` that differ from the published ones.
        num_classes: C.

    Raises:
        RecipeError: the backbone is unknown, the weights do not fit, or the input is invalid.

    """
    pretrained, _ = build_backbone(backbone, weights)
    image_recipe = replace(published_input(backbone, weights), **changed_input)
    recipe = Recipe(
        name="fit",
        network=backbone,
        num_heads=head.num_heads,
        tau=head.tau,
        gamma=head.gamma,
        imbalance_ratio=None,
        **asdict(image_recipe),
    )
    model = Classifier(recipe, num_classes)
    model.backbone = pretrained
    check_sizes(model, recipe)
    return Frozen(model.eval(), recipe, weights, hashlib.sha256(weights.read_bytes()).hexdigest())


@torch.inference_mode()
def check_features(frozen: Frozen, part: Extracted, cache: FeatureCache) -> None:
    """Compare some of the features with torch, because other code may have computed cached ones.

    Raises:
        TrainingError: the features differ.

    """
    model = frozen.model.cpu()
    chosen = np.linspace(0, len(part.files) - 1, min(CHECKED_IMAGES, len(part.files)), dtype=np.int64)
    images = LabelledImages(part.files.part(chosen), frozen.recipe.image_recipe, None)
    expected = model.backbone(model.prepare(images.fetch(np.arange(len(chosen))))).numpy()
    given = part.features[chosen]
    if expected.shape != given.shape or not np.abs(expected - given).max() <= MAX_DIFFERENCE * np.abs(expected).max():
        raise TrainingError(
            f"the features in {cache.folder} do not belong to this backbone and these pictures; remove the folder"
        )
