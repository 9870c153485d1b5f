"""The command line of `import-official`."""

import argparse
import shlex
import sys
from pathlib import Path

from training.argument_types import pixels, positive_int
from training.official.presets import PRESETS

__all__ = ["add_import_official"]

DESCRIPTION = (
    "Turn a checkpoint of github.com/KaihuaTang/Long-Tailed-Recognition.pytorch (classification) into a bundle that "
    "gives the same TDE logits. No pickled code is run."
)


def add_import_official(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `import-official` to the commands."""
    command = commands.add_parser(
        "import-official", help="turn a checkpoint of the authors' code into a bundle", description=DESCRIPTION
    )
    command.set_defaults(run=_run)
    command.add_argument(
        "file", type=Path, metavar="FILE.pth", help="latest_model_checkpoint.pth or final_model_checkpoint.pth"
    )
    command.add_argument(
        "--classes",
        type=Path,
        required=True,
        metavar="FILE",
        help="names and training counts of the classes: `name,training_count` a line, or a JSON list, in label order",
    )
    command.add_argument(
        "--out", type=Path, required=True, metavar="BUNDLE", help="NAME/VERSION, or NAME for the next version"
    )
    command.add_argument(
        "--data",
        type=Path,
        help="folder or zip with test/CLASS/IMAGE, to measure the model and choose alpha as `export` does",
    )
    command.add_argument(
        "--train-data",
        type=Path,
        help="folder or zip with train/CLASS/IMAGE, to find the label-free alpha (1 / mean head cosine) on the first "
        "training_count files of each class",
    )
    _add_numbers(command)


def _add_numbers(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        help="data set whose preprocessing and alpha are used (default: the one with as many classes)",
    )
    command.add_argument("--size", type=pixels, help="side of the centre crop in pixels (default: the preset's)")
    command.add_argument("--resize", type=pixels, help="shorter side in pixels before the crop (default: the preset's)")
    command.add_argument("--mean", type=float, nargs=3, metavar=("R", "G", "B"), help="mean of pixel / 255")
    command.add_argument(
        "--std", type=float, nargs=3, metavar=("R", "G", "B"), help="standard deviation of pixel / 255"
    )
    command.add_argument("--num-heads", type=positive_int, default=2, help="num_head in its configuration (default: 2)")
    command.add_argument("--tau", type=float, default=16.0, help="tau in its configuration (default: 16)")
    command.add_argument("--gamma", type=float, default=1 / 32, help="gamma in its configuration (default: 0.03125)")
    command.add_argument(
        "--alpha",
        type=float,
        help="alpha in its configuration, saved as the operating point `authors` (default: the preset's)",
    )
    command.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="device that computes the features of --train-data (default: auto)",
    )


def _run(options: argparse.Namespace) -> None:
    from training.official.importing import ImportOptions, import_official  # noqa: PLC0415  loads torch

    import_official(
        ImportOptions(
            file=options.file,
            classes=options.classes,
            out=options.out,
            data=options.data,
            train_data=options.train_data,
            preset=options.preset,
            size=options.size,
            resize=options.resize,
            mean=tuple(options.mean) if options.mean else None,
            std=tuple(options.std) if options.std else None,
            num_heads=options.num_heads,
            tau=options.tau,
            gamma=options.gamma,
            alpha=options.alpha,
            device=options.device,
            command=f"python -m training {shlex.join(sys.argv[1:])}",
        )
    )
