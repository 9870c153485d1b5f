"""The command line of `python -m training fit`."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from training.argument_types import pixels, positive_int, seed, threads
from training.data.options import add_data_arguments, data_options
from training.fit.feature_cache import default_cache_folder
from training.fit.head_recipe import HeadRecipe

__all__ = ["add_fit"]

ABOUT = (
    "Make a bundle from your own pictures in minutes. The features of a frozen pretrained backbone are computed once "
    "and cached, a de-confounded head is trained on them, and alpha is chosen on the test part. A table compares the "
    "result with post-hoc logit adjustment and a linear head. A stopped run resumes where it was if started again."
)


def add_fit(commands: Any) -> None:
    """Add `fit` to the commands of `python -m training`."""
    command: argparse.ArgumentParser = commands.add_parser(
        "fit",
        help="make a bundle from a pretrained backbone and your own pictures, in minutes",
        description=ABOUT,
    )
    command.set_defaults(run=_fit)
    add_data_arguments(command)
    add = command.add_argument
    add("--backbone", required=True, help="efficientnet_lite0, a network of torchvision, or timm/NAME")
    add(
        "--weights",
        type=Path,
        metavar="FILE",
        help="file of its pretrained weights: safetensors, or a torch state_dict",
    )
    add("--out", type=Path, required=True, metavar="BUNDLE", help="NAME/VERSION, or NAME for its next version")
    add(
        "--cache",
        type=Path,
        metavar="DIR",
        default=default_cache_folder(),
        help="folder that features are cached in (default: longtail/features in $XDG_CACHE_HOME or ~/.cache)",
    )
    _add_head_arguments(command)
    _add_input_arguments(command)
    add(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="device that computes the features (default: %(default)s)",
    )
    add("--threads", type=threads, help="number of threads that decode and compute; by default one for each core")


def _add_head_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    head = HeadRecipe()
    add("--epochs", type=positive_int, help="passes over all features; by default 30, more if there are few pictures")
    add("--learning-rate", type=float, default=head.learning_rate, help="initial learning rate (default: %(default)g)")
    add("--weight-decay", type=float, default=head.weight_decay, help="weight decay (default: %(default)g)")
    add(
        "--num-heads",
        type=positive_int,
        default=head.num_heads,
        help="number of heads that features are split into; must divide their length (default: %(default)s)",
    )
    add("--seed", type=seed, default=head.seed, help="seed of the initial weights and the order (default: %(default)s)")


def _add_input_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "--size",
        type=pixels,
        metavar="PIXELS",
        help="side of the square image that the backbone gets; by default as published",
    )
    add(
        "--resize",
        type=pixels,
        metavar="PIXELS",
        help="length of the shorter side before the square is cut out; by default as published",
    )
    for name in ("mean", "std"):
        what = f"{name} of red, green and blue, 0 to 1, for normalising pixels; by default as published"
        add(f"--{name}", type=float, nargs=3, metavar=("R", "G", "B"), help=what)


def _fit(options: argparse.Namespace) -> None:
    from training.fit.fit import FitOptions, fit  # noqa: PLC0415  loads torch

    changed = {"height": options.size, "width": options.size, "resize": options.resize}
    changed |= {name: getattr(options, name) and tuple(getattr(options, name)) for name in ("mean", "std")}
    bundle = fit(
        FitOptions(
            data=data_options(options),
            backbone=options.backbone,
            weights=options.weights,
            out=options.out,
            cache=options.cache,
            head=HeadRecipe(
                epochs=options.epochs,
                learning_rate=options.learning_rate,
                weight_decay=options.weight_decay,
                num_heads=options.num_heads,
                seed=options.seed,
            ),
            changed_input={name: value for name, value in changed.items() if value is not None},
            device=options.device,
            threads=options.threads,
            command=f"python -m training {shlex.join(sys.argv[1:])}",
        )
    )
    print(f"wrote {bundle.path}; inspect it with: uv run python -m models check {bundle.path}")
    print(f"serve it with: uv run python -m service --models {bundle.path.parent.parent}")
