"""A recipe is everything that decides a result besides the data and the seed, as one frozen value.

Recipes live in `training/recipe/recipes/`, one file per result, each with a module-level `RECIPE`; the file's name with
dashes is the recipe's name. A run stores its recipe in the checkpoint, so what was trained stays readable.
"""

import ast
import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Literal, Self

from pydantic import TypeAdapter, ValidationError

from models.manifest import ImageRecipe
from training.errors import RecipeError
from training.recipe import recipes
from training.recipe.recipe_checks import MAX_EPOCHS, check_recipe, check_used

__all__ = ["Recipe", "load_recipe", "recipe_names"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training result's settings.

    Attributes:
        name: as on the command line.
        method: what `training/recipe/methods.py` changed in it; by itself a recipe is the de-confounded one.
        network: see `training.model.networks.backbone_names`.
        pretrained: starts from `--weights`, or from those an installed package brings, never from random ones; height,
            width, resize, mean and std are then as the network's publisher says (`networks/published_input.py`).
        frozen: modules of the network that keep the weights they came with, such as `layer1`; see `freezing.py`.
        head: linear, cosine, capsule or deconfounded; `num_heads`, `tau`, `gamma` as in `training/model/heads.py`.
        loss: see `run/losses.py`, with `focal_gamma`, `ldam_margin`, `logit_adjustment` (t), `reweight_beta` (β).
        reweight_from: epoch from which on classes are weighed (DRW); None for never.
        second_stage, second_stage_epochs: over the last so many epochs the network stands still, classes are drawn
            equally often, and only the head learns: anew (`crt`) or a factor for each class (`lws`).
            Kang et al. 2020, arXiv:1910.09217.
        height, width, resize: pixels; an image's shorter side becomes `resize`, then the centre is cropped.
        mean, std: per channel, of pixel / 255.
        imbalance_ratio: of the long-tail cut; None takes the data as they are.
        epochs, batch_size, learning_rate, momentum, nesterov, weight_decay: of SGD.
        warmup_epochs: the learning rate rises linearly over these.
        schedule: `milestones` multiplies the rate by `milestone_factor` at each of `milestones` (epochs), `cosine` lets
            it fall to 0.
        restarts: (epoch, learning rate) from which the cosine falls anew, to 0 at the next one or the end (SGDR).
        crop_padding: pixels a random crop may shift; 0 turns crop and flip off.
        random_resized_crop: cut out a random part, at least 8 % of the picture, and flip; not with `crop_padding`.
        color_jitter: brightness, contrast and saturation change by up to this share.
        auto_augment, auto_augment_policy: AutoAugment, and the data set its policy was found on.
        rand_augment: how many operations of RandAugment, and how strong (0..30); None for none.
        cutout: the side of the blank square in pixels, 0 for none.
        mixup: α of the Beta distribution that pictures are blended by, 0 for none.
        progressive_sizes: (epoch from which on, pixels): train on smaller pictures first.
        ema_decay: of the weights' moving average, which is then what is evaluated and exported; None for none.
        mean_feature: `clean` (one pass in evaluation mode after training) or `running` (the authors' running mean).
        authors_alpha: the α that the paper's authors configured for the recipe's data set; shown by `compare`, and
            exported as the operating point `authors`. None for none.
        evaluate_every: epochs between looks at the test set (never used to choose anything); 0 only looks at the end.

    """

    name: str
    method: str = "deconfounded"
    network: str = "cifar_resnet32"
    pretrained: bool = False
    frozen: tuple[str, ...] = ()
    head: str = "deconfounded"
    num_heads: int = 2
    tau: float = 16.0
    gamma: float = 1 / 32
    loss: str = "cross_entropy"
    focal_gamma: float = 2.0
    ldam_margin: float = 0.5
    logit_adjustment: float = 1.0
    reweight_from: float | None = None
    reweight_beta: float = 0.9999
    second_stage: Literal["none", "crt", "lws"] = "none"
    second_stage_epochs: int = 0
    second_stage_learning_rate: float = 0.1
    height: int = 32
    width: int = 32
    resize: int = 32
    mean: tuple[float, float, float] = (0.4914, 0.4822, 0.4465)
    std: tuple[float, float, float] = (0.2023, 0.1994, 0.2010)
    imbalance_ratio: float | None = 100.0
    epochs: int = 200
    batch_size: int = 256
    learning_rate: float = 0.2
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    warmup_epochs: float = 5.0
    schedule: Literal["milestones", "cosine"] = "milestones"
    milestones: tuple[float, ...] = (120.0, 160.0)
    milestone_factor: float = 0.01
    restarts: tuple[tuple[float, float], ...] = ()
    crop_padding: int = 4
    random_resized_crop: bool = False
    color_jitter: float = 0.0
    auto_augment: bool = False
    auto_augment_policy: Literal["cifar10", "imagenet"] = "cifar10"
    rand_augment: tuple[int, int] | None = None
    cutout: int = 0
    mixup: float = 0.0
    progressive_sizes: tuple[tuple[float, int], ...] = ()
    ema_decay: float | None = None
    mean_feature: Literal["clean", "running"] = "clean"
    authors_alpha: float | None = None
    evaluate_every: int = 10

    def __post_init__(self) -> None:
        """Refuse a recipe that contradicts itself."""
        check_recipe(self)

    @property
    def first_stage_epochs(self) -> int:
        """Epochs in which the whole network learns."""
        return self.epochs - (self.second_stage_epochs if self.second_stage != "none" else 0)

    @property
    def image_recipe(self) -> ImageRecipe:
        """How a file becomes pixels, as the bundle will state it."""
        return ImageRecipe(height=self.height, width=self.width, resize=self.resize, mean=self.mean, std=self.std)

    def with_epochs(self, epochs: int) -> Self:
        """The same recipe stretched or shortened: all that happens at an epoch moves in proportion."""
        if not 1 <= epochs < MAX_EPOCHS:
            raise RecipeError(f"--epochs {epochs}: at least 1, and below {MAX_EPOCHS:,}")
        scale = epochs / self.epochs
        milestones = tuple(epoch * scale for epoch in self.milestones)
        return replace(
            self,
            epochs=epochs,
            warmup_epochs=self.warmup_epochs * scale,
            reweight_from=None if self.reweight_from is None else self.reweight_from * scale,
            second_stage_epochs=max(1, round(self.second_stage_epochs * scale)) if self.second_stage_epochs else 0,
            milestones=milestones,
            restarts=tuple((epoch * scale, rate) for epoch, rate in self.restarts),
            progressive_sizes=tuple((epoch * scale, pixels) for epoch, pixels in self.progressive_sizes),
        )

    def with_settings(self, settings: Iterable[str]) -> Self:
        """The same recipe with some fields changed, each as `FIELD=VALUE`, the value in Python's own spelling.

        Raises:
            RecipeError: no such field, a value of another kind, or a field that has no effect in this recipe.

        """
        known = [each.name for each in fields(self) if each.name not in {"name", "method"}]
        changes: dict[str, Any] = {}
        for setting in settings:
            field, equals, text = setting.partition("=")
            if not equals:
                raise RecipeError(f"--set {setting}: must be FIELD=VALUE, such as learning_rate=0.1")
            if field not in known:
                near = get_close_matches(field, known, cutoff=0.5) or known
                raise RecipeError(f"--set {setting}: a recipe has no field {field!r}; there are: {', '.join(near)}")
            if field == "epochs":
                raise RecipeError(f"--set {setting}: use --epochs, which moves all that happens at an epoch with it")
            try:
                changes[field] = ast.literal_eval(text)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                changes[field] = text
        try:
            changed = TypeAdapter(type(self)).validate_python(self.to_dict() | changes)
        except ValidationError as error:
            first = error.errors()[0]
            field = str(first["loc"][0])
            raise RecipeError(
                f"--set {field}={changes[field]}: {first['msg']}; the recipe has {getattr(self, field)!r}"
            ) from error
        check_used(changed, changes)
        return changed

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        unknown = values.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise RecipeError(f"the recipe has fields this version does not know: {sorted(unknown)}")
        return cls(**values)


def recipe_names() -> list[str]:
    """Return the name of every file in `training/recipe/recipes/`."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(recipes.__path__))


def load_recipe(name: str) -> Recipe:
    """Return a recipe by its name.

    Raises:
        RecipeError: no such recipe; the message lists those there are.

    """
    if name not in recipe_names():
        raise RecipeError(f"recipe {name!r} is unknown; there are: {', '.join(recipe_names())}")
    recipe: Recipe = importlib.import_module(f"training.recipe.recipes.{name.replace('-', '_')}").RECIPE
    return recipe
