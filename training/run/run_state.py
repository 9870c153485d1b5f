"""The state of a run between two epochs, and its form in the checkpoint file.

The file is one flat dictionary of plain values and tensors (`checkpoint.py`). `RunState.from_checkpoint` and
`to_checkpoint` are the only places that know its keys. Keys that older versions did not write have defaults there.
"""

import hashlib
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from models.manifest import group_of
from training.data.data_set import Splits, fingerprint
from training.data.labelled_images import LabelledImages
from training.data.options import DataOptions, path_name
from training.errors import CheckpointError
from training.recipe.recipe import Recipe
from training.run.checkpoint import load_checkpoint, save_checkpoint
from training.run.options import TrainOptions
from training.run.trainer import TrainerState

__all__ = ["Means", "RunData", "RunPlace", "RunState", "StartingWeights", "load_run", "new_run", "save_run", "sha256"]


@dataclass(frozen=True)
class StartingWeights:
    """The file of pretrained weights that a run started from: its name and SHA-256."""

    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class RunData:
    """The pictures of a run: enough to find the same test part again and to describe them.

    Attributes:
        name: the data set's name, for the model card.
        options: how the data set was read.
        note: how it was cut and divided, in a sentence.
        classes: (C,) class names.
        class_counts: (C,) training pictures of each class.
        groups: (C,) `many`, `medium` or `few`.
        train_fingerprint, test_fingerprint: of the pictures' names and classes; None in runs of older versions.
        unreadable_images: how many pictures of `train` and of `test` could not be read.

    """

    name: str
    options: DataOptions
    note: str
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    groups: tuple[str, ...]
    train_fingerprint: str | None
    test_fingerprint: str | None
    unreadable_images: dict[str, int]

    @classmethod
    def of(cls, options: DataOptions, splits: Splits, train: LabelledImages, test: LabelledImages) -> Self:
        """Return what a run keeps of its data."""
        return cls(
            name=path_name(options.data),
            options=options,
            note=splits.note,
            classes=tuple(train.classes),
            class_counts=tuple(train.class_counts.tolist()),
            groups=tuple(group_of(int(count)) for count in train.class_counts),
            train_fingerprint=fingerprint(train.files),
            test_fingerprint=fingerprint(splits.test),
            unreadable_images={"train": len(train.unreadable), "test": len(test.unreadable)},
        )


@dataclass(frozen=True, kw_only=True)
class RunPlace:
    """Where and by which command the run was computed last; empty strings if an older version did not store it."""

    hardware: str = ""
    precision: str = ""
    commit: str = ""
    command: str = ""


@dataclass(frozen=True)
class Means:
    """What a finished run knows of its training features.

    Attributes:
        mean_feature: (D,) the mean feature.
        head_cosine: (K,) the mean cosine between features and the mean feature in each part of the head; None for a
            linear head.

    """

    mean_feature: Tensor
    head_cosine: Tensor | None


@dataclass(kw_only=True)
class RunState:
    """A run between two epochs.

    Attributes:
        recipe: what is trained.
        seed: the seed of weights, order and augmentation.
        started_from: the pretrained weights; None for random ones.
        data: the pictures.
        date: the day of the start, in ISO format.
        place: where it is computed.
        epochs_done: finished epochs.
        seconds: training time so far.
        history: one row of figures per finished epoch.
        trainer: weights and optimiser after the last finished epoch; None before the first.
        means: computed when training has ended; None until then.

    """

    recipe: Recipe
    seed: int
    started_from: StartingWeights | None
    data: RunData
    date: str
    place: RunPlace = field(default_factory=RunPlace)
    epochs_done: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    trainer: TrainerState | None = None
    means: Means | None = None

    @property
    def finished(self) -> bool:
        """Whether all epochs are done and the means are computed."""
        return self.means is not None

    def to_checkpoint(self) -> dict[str, Any]:
        """Return the checkpoint file's values."""
        values: dict[str, Any] = {
            "recipe": self.recipe.to_dict(),
            "seed": self.seed,
            "started_from": self.started_from and asdict(self.started_from),
            "classes": list(self.data.classes),
            "class_counts": list(self.data.class_counts),
            "groups": list(self.data.groups),
            "date": self.date,
            "epochs_done": self.epochs_done,
            "seconds": self.seconds,
            "history": self.history,
            "finished": self.finished,
            "data": self.data.name,
            "data_options": self.data.options.to_dict(),
            "data_note": self.data.note,
            "train_fingerprint": self.data.train_fingerprint,
            "test_fingerprint": self.data.test_fingerprint,
            "unreadable_images": self.data.unreadable_images,
            **asdict(self.place),
        }
        if self.trainer is not None:
            values |= {
                "model": self.trainer.model,
                "optimizer": self.trainer.optimizer,
                "average": self.trainer.average,
                "running_mean": self.trainer.running_mean,
            }
        if self.means is not None:
            values |= {"mean_feature": self.means.mean_feature, "mean_head_cosine": self.means.head_cosine}
        return values

    @classmethod
    def from_checkpoint(cls, values: dict[str, Any]) -> Self:
        """Return the state that a checkpoint file holds.

        Raises:
            CheckpointError: a value is missing.
            RecipeError: the recipe is of a newer version.

        """
        try:
            started_from = values.get("started_from")
            return cls(
                recipe=Recipe.from_dict(values["recipe"]),
                seed=values["seed"],
                started_from=StartingWeights(**started_from) if started_from else None,
                data=_data_from(values),
                date=values["date"],
                place=RunPlace(**{key: values.get(key, "") for key in RunPlace.__dataclass_fields__}),
                epochs_done=values["epochs_done"],
                seconds=values["seconds"],
                history=values["history"],
                trainer=TrainerState(
                    model=values["model"],
                    optimizer=values["optimizer"],
                    average=values["average"],
                    running_mean=values["running_mean"],
                )
                if "model" in values
                else None,
                means=Means(values["mean_feature"], values["mean_head_cosine"]) if values["finished"] else None,
            )
        except KeyError as error:
            raise CheckpointError(f"the checkpoint has no {error}; it is damaged or of another version") from error


def _data_from(values: dict[str, Any]) -> RunData:
    if "data_options" in values:
        options = DataOptions.from_dict(values["data_options"])
    else:  # up to version 0.4
        options = DataOptions(data=Path(values["data_path"]))
    return RunData(
        name=values["data"],
        options=options,
        note=values.get("data_note", ""),
        classes=tuple(values["classes"]),
        class_counts=tuple(values["class_counts"]),
        groups=tuple(values["groups"]),
        train_fingerprint=values.get("train_fingerprint"),
        test_fingerprint=values.get("test_fingerprint"),
        unreadable_images=values.get("unreadable_images", {}),
    )


def new_run(recipe: Recipe, options: TrainOptions, data: RunData) -> RunState:
    """Return the state of a run before its first epoch."""
    weights = options.weights
    return RunState(
        recipe=recipe,
        seed=options.seed,
        started_from=None if weights is None else StartingWeights(weights.name, sha256(weights)),
        data=data,
        date=datetime.now(UTC).date().isoformat(),
    )


def save_run(run: Path, state: RunState) -> None:
    """Write the state to the run folder; a crash leaves the previous checkpoint untouched."""
    save_checkpoint(run, state.to_checkpoint())


def load_run(run: Path, content: bytes | None = None) -> RunState:
    """Read the state of a run, with tensors on the CPU.

    Args:
        run: the run folder.
        content: its checkpoint, if another process has read it.

    Raises:
        CheckpointError: there is no checkpoint, or it cannot be read.
        RecipeError: the recipe is of a newer version.

    """
    return RunState.from_checkpoint(load_checkpoint(run, content))


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file, as hex digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
