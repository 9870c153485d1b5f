"""A recipe is everything that decides a result besides the data and the seed, as one frozen value.

Recipes live in `training/recipes/`, one file per result, each with a module-level `RECIPE`; the file's name with
dashes is the recipe's name. A run stores its recipe in the checkpoint, so what was trained stays readable.
"""

import importlib
import pkgutil
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self

from models.manifest import ImageRecipe
from training import recipes
from training.errors import RecipeError

__all__ = ["Recipe", "load_recipe", "recipe_names"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training result's settings.

    Attributes:
        name: as on the command line.
        network: see `training.networks.backbone_names`.
        head: linear, cosine, capsule or deconfounded; `num_heads`, `tau`, `gamma` as in `training/heads.py`.
        height, width, resize: pixels; an image's shorter side becomes `resize`, then the centre is cropped.
        mean, std: per channel, of pixel / 255.
        imbalance_ratio: of the long-tail cut; None takes the data as they are.
        epochs, batch_size, learning_rate, momentum, nesterov, weight_decay: of SGD.
        warmup_epochs: the learning rate rises linearly over these.
        schedule: `milestones` multiplies the rate by `milestone_factor` at each of `milestones` (epochs), `cosine` lets
            it fall to 0.
        restarts: (epoch, learning rate) from which the cosine falls anew, to 0 at the next one or the end (SGDR).
        crop_padding: pixels a random crop may shift; 0 turns crop and flip off.
        auto_augment, cutout: the CIFAR-10 policy; the side of the blank square in pixels, 0 for none.
        progressive_sizes: (epoch from which on, pixels): train on smaller pictures first.
        ema_decay: of the weights' moving average, which is then what is evaluated and exported; None for none.
        mean_feature: `clean` (one pass in evaluation mode after training) or `running` (the authors' running mean).
        evaluate_every: epochs between looks at the test set (never used to choose anything); 0 only looks at the end.
    """

    name: str
    network: str = "cifar_resnet32"
    head: str = "deconfounded"
    num_heads: int = 2
    tau: float = 16.0
    gamma: float = 1 / 32
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
    auto_augment: bool = False
    cutout: int = 0
    progressive_sizes: tuple[tuple[float, int], ...] = ()
    ema_decay: float | None = None
    mean_feature: Literal["clean", "running"] = "clean"
    evaluate_every: int = 10

    def __post_init__(self) -> None:
        """Refuse a recipe that contradicts itself."""
        if self.epochs < 1 or self.batch_size < 2:
            raise RecipeError(f"recipe {self.name}: needs at least 1 epoch and 2 images a batch")
        if self.schedule not in ("milestones", "cosine"):
            raise RecipeError(f"recipe {self.name}: schedule {self.schedule!r} is neither 'milestones' nor 'cosine'")
        if self.mean_feature not in ("clean", "running"):
            raise RecipeError(
                f"recipe {self.name}: mean_feature {self.mean_feature!r} is neither 'clean' nor 'running'"
            )
        if self.resize < max(self.height, self.width):
            raise RecipeError(
                f"recipe {self.name}: resize {self.resize} is smaller than the crop {self.height}x{self.width}"
            )

    @property
    def image_recipe(self) -> ImageRecipe:
        """How a file becomes pixels, as the bundle will state it."""
        return ImageRecipe(height=self.height, width=self.width, resize=self.resize, mean=self.mean, std=self.std)

    def with_epochs(self, epochs: int) -> Self:
        """The same recipe stretched or shortened: all that happens at an epoch moves in proportion."""
        if epochs < 1:
            raise RecipeError(f"--epochs {epochs}: at least 1")
        scale = epochs / self.epochs
        milestones = tuple(epoch * scale for epoch in self.milestones)
        return replace(
            self,
            epochs=epochs,
            warmup_epochs=self.warmup_epochs * scale,
            milestones=milestones,
            restarts=tuple((epoch * scale, rate) for epoch, rate in self.restarts),
            progressive_sizes=tuple((epoch * scale, pixels) for epoch, pixels in self.progressive_sizes),
        )

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
    """Return the name of every file in `training/recipes/`."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(recipes.__path__))


def load_recipe(name: str) -> Recipe:
    """Return a recipe by its name.

    Raises:
        RecipeError: no such recipe; the message lists those there are.
    """
    if name not in recipe_names():
        raise RecipeError(f"recipe {name!r} is unknown; there are: {', '.join(recipe_names())}")
    recipe: Recipe = importlib.import_module(f"training.recipes.{name.replace('-', '_')}").RECIPE
    return recipe
