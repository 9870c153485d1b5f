"""A recipe: everything that decides a result besides the data and the seed, as one frozen value.

Recipes live in `training/recipe/recipes/`, one file per result (`named_recipes.py`). A run stores its recipe in the
checkpoint, so it stays known what was trained.
"""

from dataclasses import asdict, fields, replace
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from models.manifest import ImageRecipe
from training.errors import RecipeError
from training.recipe.choices import AutoAugmentPolicy, Head, Loss, MeanFeature, Schedule, SecondStage
from training.recipe.field_errors import describe

__all__ = ["Recipe"]

MIN_POSITIVE = 1e-9
MAX_EPOCHS = 999_999
MAX_BATCH_SIZE = 999_999
MAX_SIDE = 4096  # pixels of the network's input
MAX_RESIZE = 8192  # pixels

Mean = Annotated[float, Field(ge=-10, lt=10)]
Std = Annotated[float, Field(ge=MIN_POSITIVE, lt=10)]
Epoch = Annotated[float, Field(ge=0)]
SmallSide = Annotated[int, Field(ge=4, le=MAX_SIDE)]
SmallSideStart = Annotated[float, Field(ge=0, le=MAX_SIDE)]
LearningRate = Annotated[float, Field(ge=MIN_POSITIVE, lt=1e6)]
OperationCount = Annotated[int, Field(ge=1, le=14)]
Magnitude = Annotated[int, Field(ge=0, le=30)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Recipe:
    """The settings of one training result. Each field states its type, bounds and meaning.

    Raises:
        RecipeError: a value is out of bounds, or two fields contradict each other.

    """

    name: str = Field(description="The recipe's name on the command line.")
    method: str = Field(
        default="deconfounded",
        description="The name of the method that changed the recipe (`--method`); `deconfounded` changes nothing.",
    )
    network: str = Field(
        default="cifar_resnet32",
        description="The backbone: `cifar_resnet32`, `efficientnet_lite0`, a torchvision name or `timm/NAME`.",
    )
    pretrained: bool = Field(
        default=False,
        description="Start from pretrained weights: `--weights`, or those that an installed package brings. "
        "`height`, `width`, `resize`, `mean` and `std` then default to what the network's publisher used.",
    )
    frozen: tuple[str, ...] = Field(
        default=(), description="Modules of the network that keep their initial weights, such as `layer1`."
    )
    head: Head = Field(default="deconfounded", description="The classifier on top of the features.")
    num_heads: int = Field(
        default=2, ge=1, le=1024, description="K: into how many parts the de-confounded head splits a feature."
    )
    tau: float = Field(
        default=16.0, ge=MIN_POSITIVE, lt=1e6, description="τ: the scale of the logits of a normalising head."
    )
    gamma: float = Field(
        default=1 / 32, ge=0, lt=1e6, description="γ: added to the weights' norms by the de-confounded head."
    )
    loss: Loss = Field(default="cross_entropy", description="The loss that training minimises.")
    focal_gamma: float = Field(default=2.0, ge=0, lt=100, description="The exponent of the focal loss.")
    ldam_margin: float = Field(default=0.5, ge=0, lt=100, description="LDAM's largest margin, as a cosine.")
    logit_adjustment: float = Field(default=1.0, ge=-100, lt=100, description="t: the strength of `logit_adjusted`.")
    reweight_from: float | None = Field(
        default=None,
        ge=0,
        description="The epoch from which classes are weighted by rarity (deferred re-weighting); None for never.",
    )
    reweight_beta: float = Field(
        default=0.9999, ge=0, lt=1, description="β: how strongly `class_balanced` and `reweight_from` weight classes."
    )
    second_stage: SecondStage = Field(
        default="none",
        description="What the head learns in the last epochs, while the backbone is frozen and classes are drawn "
        "equally often: all weights anew (`crt`) or one factor per class (`lws`). Kang et al. 2020, arXiv:1910.09217.",
    )
    second_stage_epochs: int = Field(default=0, ge=0, description="The length of the second stage, in epochs.")
    second_stage_learning_rate: float = Field(
        default=0.1, ge=MIN_POSITIVE, lt=1e6, description="The initial learning rate of the second stage."
    )
    height: int = Field(default=32, ge=1, le=MAX_SIDE, description="The height of the network's input, in pixels.")
    width: int = Field(default=32, ge=1, le=MAX_SIDE, description="The width of the network's input, in pixels.")
    resize: int = Field(
        default=32,
        ge=1,
        le=MAX_RESIZE,
        description="The shorter side of a picture after resizing, in pixels, before the centre is cropped.",
    )
    mean: tuple[Mean, Mean, Mean] = Field(
        default=(0.4914, 0.4822, 0.4465), description="The mean of each channel, of pixel values divided by 255."
    )
    std: tuple[Std, Std, Std] = Field(
        default=(0.2023, 0.1994, 0.2010),
        description="The standard deviation of each channel, of pixel values divided by 255.",
    )
    imbalance_ratio: float | None = Field(
        default=100.0,
        description="The long-tail cut: how many times more pictures the largest class has than the smallest; "
        "None keeps all pictures.",
    )
    epochs: int = Field(default=200, ge=1, le=MAX_EPOCHS, description="The length of training, in epochs.")
    batch_size: int = Field(default=256, ge=2, le=MAX_BATCH_SIZE, description="Images per step of SGD.")
    learning_rate: float = Field(default=0.2, ge=MIN_POSITIVE, lt=1e38, description="The peak learning rate.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="The momentum of SGD.")
    nesterov: bool = Field(default=False, description="Use Nesterov momentum.")
    weight_decay: float = Field(default=5e-4, ge=0, lt=1e6, description="The weight decay of SGD.")
    warmup_epochs: float = Field(
        default=5.0, ge=0, description="Epochs over which the learning rate rises linearly from 0."
    )
    schedule: Schedule = Field(
        default="milestones",
        description="How the learning rate falls: by `milestone_factor` at each of `milestones`, or along a cosine to "
        "0.",
    )
    milestones: tuple[Epoch, ...] = Field(
        default=(120.0, 160.0), description="Epochs at which the learning rate is multiplied by `milestone_factor`."
    )
    milestone_factor: float = Field(
        default=0.01, ge=0, lt=1e6, description="The factor on the learning rate at each milestone."
    )
    restarts: tuple[tuple[float, LearningRate], ...] = Field(
        default=(),
        description="Warm restarts (SGDR) as pairs of an epoch and a learning rate, from which the cosine falls again.",
    )
    crop_padding: int = Field(
        default=4,
        ge=0,
        le=MAX_SIDE,
        description="How many pixels a random crop may shift an image; 0 turns off crops and flips.",
    )
    random_resized_crop: bool = Field(
        default=False,
        description="Crop a random part of at least 8 % of the picture and flip it; excludes `crop_padding`.",
    )
    color_jitter: float = Field(
        default=0.0, ge=0, le=1, description="The largest change of brightness, contrast and saturation, as a share."
    )
    auto_augment: bool = Field(default=False, description="Use AutoAugment.")
    auto_augment_policy: AutoAugmentPolicy = Field(
        default="cifar10", description="The data set that AutoAugment's policy was found on."
    )
    rand_augment: tuple[OperationCount, Magnitude] | None = Field(
        default=None, description="RandAugment's number of operations and their magnitude (0 to 30); None for none."
    )
    cutout: int = Field(
        default=0, ge=0, le=MAX_SIDE, description="The side of Cutout's blank square, in pixels; 0 for none."
    )
    mixup: float = Field(default=0.0, ge=0, lt=1e6, description="α of mixup's Beta distribution; 0 for none.")
    progressive_sizes: tuple[tuple[SmallSideStart, SmallSide], ...] = Field(
        default=(),
        description="Smaller images first: pairs of an epoch and the side in pixels that is trained on from then on.",
    )
    ema_decay: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="The decay of a moving average of the weights, which is then evaluated and exported; None for "
        "none.",
    )
    mean_feature: MeanFeature = Field(
        default="clean",
        description="How the mean feature is computed: in one pass without augmentation after training (`clean`), or "
        "as the authors' running mean during training (`running`).",
    )
    authors_alpha: float | None = Field(
        default=None,
        ge=-100,
        lt=100,
        description="The α that the paper's authors used for this data set. `compare` shows it and `export` writes it "
        "as the operating point `authors`. None for none.",
    )
    evaluate_every: int = Field(
        default=10,
        ge=0,
        description="Epochs between evaluations on the test set, which choose nothing; 0 evaluates only at the end.",
    )

    @model_validator(mode="wrap")
    @classmethod
    def _report_in_one_sentence(cls, given: ArgsKwargs, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(given)
        except ValidationError as error:
            name = (given.kwargs or {}).get("name")
            raise RecipeError(f"recipe {name}: {describe(error, vars(cls)['__pydantic_fields__'])}") from error

    @model_validator(mode="after")
    def _check_nesterov_has_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise RecipeError(f"recipe {self.name}: nesterov needs a momentum above 0")
        return self

    @model_validator(mode="after")
    def _check_restarts_ascend(self) -> Self:
        starts = [self.warmup_epochs, *(start for start, _ in self.restarts), self.epochs]
        if self.restarts and not all(one < other for one, other in pairwise(starts)):
            raise RecipeError(
                f"recipe {self.name}: restarts {self.restarts!r} must be in ascending order, after the warm-up "
                f"({self.warmup_epochs:g} epochs) and before the end ({self.epochs} epochs)"
            )
        return self

    @model_validator(mode="after")
    def _check_one_crop(self) -> Self:
        if self.resize < max(self.height, self.width):
            raise RecipeError(
                f"recipe {self.name}: resize {self.resize} is smaller than the crop {self.height}x{self.width}"
            )
        if self.random_resized_crop and self.crop_padding:
            raise RecipeError(
                f"recipe {self.name}: random_resized_crop and crop_padding {self.crop_padding} both crop; "
                "set crop_padding=0"
            )
        return self

    @model_validator(mode="after")
    def _check_head_fits_loss(self) -> Self:
        if self.loss == "ldam" and self.head not in ("cosine", "deconfounded"):
            raise RecipeError(
                f"recipe {self.name}: LDAM's margin is subtracted from a cosine; use head cosine or deconfounded"
            )
        return self

    @model_validator(mode="after")
    def _check_second_stage(self) -> Self:
        if self.second_stage == "lws" and self.head != "linear":
            raise RecipeError(
                f"recipe {self.name}: lws scales each class's weights, which head {self.head} normalises away; "
                "use head linear"
            )
        if self.second_stage != "none" and not 0 < self.second_stage_epochs < self.epochs:
            raise RecipeError(
                f"recipe {self.name}: second_stage_epochs {self.second_stage_epochs} leaves one of the two stages "
                f"without epochs; it must be between 0 and epochs ({self.epochs})"
            )
        return self

    @property
    def first_stage_epochs(self) -> int:
        """Epochs in which the whole network learns."""
        return self.epochs - (self.second_stage_epochs if self.second_stage != "none" else 0)

    @property
    def image_recipe(self) -> ImageRecipe:
        """How a picture becomes an image, as the bundle states it."""
        return ImageRecipe(height=self.height, width=self.width, resize=self.resize, mean=self.mean, std=self.std)

    def with_epochs(self, epochs: int) -> Self:
        """Return the recipe with another length; everything that happens at an epoch moves in proportion."""
        if not 1 <= epochs <= MAX_EPOCHS:
            raise RecipeError(f"--epochs {epochs}: must be at least 1 and at most {MAX_EPOCHS:,}")
        scale = epochs / self.epochs
        return replace(
            self,
            epochs=epochs,
            warmup_epochs=self.warmup_epochs * scale,
            reweight_from=None if self.reweight_from is None else self.reweight_from * scale,
            second_stage_epochs=max(1, round(self.second_stage_epochs * scale)) if self.second_stage_epochs else 0,
            milestones=tuple(epoch * scale for epoch in self.milestones),
            restarts=tuple((epoch * scale, rate) for epoch, rate in self.restarts),
            progressive_sizes=tuple((epoch * scale, side) for epoch, side in self.progressive_sizes),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the recipe that `to_dict` wrote.

        Raises:
            RecipeError: a field is unknown, or the values are not a recipe's.

        """
        unknown = values.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise RecipeError(f"the recipe has fields that this version does not know: {', '.join(sorted(unknown))}")
        return cls(**values)
