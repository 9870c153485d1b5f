"""Progress on the terminal: a bar with images/s and the time left, and one line per epoch."""

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text
from typing_extensions import override

__all__ = ["TrainingProgress", "images_progress"]


class _ImagesPerSecond(ProgressColumn):
    """Images per second over the last 30 seconds."""

    @override
    def render(self, task: Task) -> Text:
        return Text("–" if task.speed is None else f"{task.speed:,.0f} images/s", style="progress.data.speed")


class TrainingProgress:
    """A bar over the images of all epochs, and a line per epoch.

    If the output is not a terminal, only the lines are printed; if `quiet` is set, nothing is.
    """

    def __init__(self, epochs: int, images_per_epoch: int, *, done: int = 0, quiet: bool = False) -> None:
        self.epochs = epochs
        self.console = Console(highlight=False, quiet=quiet)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            _ImagesPerSecond(),
            TimeRemainingColumn(),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
        )
        self.task = self.bar.add_task("training", total=epochs * images_per_epoch, completed=done * images_per_epoch)
        self.images_per_epoch = images_per_epoch

    def __enter__(self) -> Self:
        """Start drawing."""
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing and leave the terminal as it was."""
        self.bar.stop()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self.console.print(line, soft_wrap=True)

    def advance(self, images: int) -> None:
        """Count the images of a step."""
        self.bar.advance(self.task, images)

    def epoch_done(self, figures: dict[str, Any]) -> None:
        """Print one epoch's figures."""
        epoch = figures["epoch"]
        self.bar.update(self.task, description=f"epoch {epoch}/{self.epochs}", completed=epoch * self.images_per_epoch)
        line = (
            f"epoch {epoch:>3}/{self.epochs}  loss {figures['loss']:.3f}  train {figures['train_accuracy']:.1%}"
            f"  lr {figures['learning_rate']:.4f}  {figures['images_per_second']:,.0f} images/s"
        )
        if "test_accuracy" in figures:
            line += f"  test {figures['test_accuracy']:.2%} (alpha 0)"
        self.say(line)


def images_progress() -> Progress:
    """Return a bar for one pass over a set of images."""
    console = Console(highlight=False, stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _ImagesPerSecond(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
