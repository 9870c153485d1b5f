"""The pretrained backbone of a fit: its weights, what it wants to see, and whether features are really its own."""

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
from training.model.networks import build_backbone, installed_weights
from training.model.networks.published_input import published_input
from training.recipe.recipe import Recipe

__all__ = ["Frozen", "check_features", "open_frozen", "weights_of"]

CHECKED_IMAGES = 8
SAME_FEATURES = 1e-2  # of their largest: ONNX Runtime and torch differ by 1e-5, other weights or pixels by far more


@dataclass(frozen=True)
class Frozen:
    """A classifier whose backbone is pretrained, in evaluation mode; its head is to be trained.

    Attributes:
        model: the classifier.
        recipe: what it is built from.
        weights: the file of the backbone's.
        weights_sha256: of that file.

    """

    model: Classifier
    recipe: Recipe
    weights: Path
    weights_sha256: str


def weights_of(backbone: str, given: Path | None) -> Path:
    """Return the file of weights: the one given, or the one an installed package brings.

    Raises:
        RecipeError: neither.

    """
    weights = given or installed_weights(backbone)
    if weights is None:
        build_backbone(backbone)  # a name that is unknown, or a package that is missing, says so itself
        raise RecipeError(
            f"--backbone {backbone}: no weights. The backbone is not trained here, so random ones make no sense for "
            "fit: give a file of pretrained ones with --weights, or train with `python -m training train`"
        )
    return weights


def open_frozen(
    backbone: str, weights: Path, head: HeadRecipe, changed_input: Mapping[str, Any], num_classes: int
) -> Frozen:
    """Build the classifier.

    Args:
        backbone: a name of `training.model.networks`.
        weights: its file.
        head: K, τ and γ.
        changed_input: fields of `ImageRecipe` that are not as published.
        num_classes: C.

    Raises:
        RecipeError: no such backbone, weights that do not fit, an input that makes no sense.

    """
    pretrained, _ = build_backbone(backbone, weights)
    shown = replace(published_input(backbone, weights), **changed_input)
    recipe = Recipe(
        name="fit",
        network=backbone,
        num_heads=head.num_heads,
        tau=head.tau,
        gamma=head.gamma,
        imbalance_ratio=None,
        **asdict(shown),
    )
    model = Classifier(recipe, num_classes)
    model.backbone = pretrained
    check_sizes(model, recipe)
    return Frozen(model.eval(), recipe, weights, hashlib.sha256(weights.read_bytes()).hexdigest())


@torch.inference_mode()
def check_features(frozen: Frozen, part: Extracted, cache: FeatureCache) -> None:
    """Hold some of the features, which may have been computed long ago by other code, against torch.

    Raises:
        TrainingError: they are others.

    """
    model = frozen.model.cpu()
    chosen = np.linspace(0, len(part.files) - 1, min(CHECKED_IMAGES, len(part.files)), dtype=np.int64)
    images = LabelledImages(part.files.part(chosen), frozen.recipe.image_recipe, None)
    expected = model.backbone(model.prepare(images.fetch(np.arange(len(chosen))))).numpy()
    given = part.features[chosen]
    if expected.shape != given.shape or not np.abs(expected - given).max() <= SAME_FEATURES * np.abs(expected).max():
        raise TrainingError(
            f"the features in {cache.folder} are not those of this backbone and these pictures; remove that folder"
        )
