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
    "Own pictures to a served bundle in minutes: features of a frozen pretrained backbone, computed once and kept, a "
    "de-confounded head trained on them, alpha chosen on the test part, and what that is worth beside its rivals. A "
    "run that was stopped goes on where it was when it is started again."
)


def add_fit(commands: Any) -> None:
    """Add `fit` to the commands of `python -m training`."""
    command: argparse.ArgumentParser = commands.add_parser(
        "fit",
        help="a bundle from a pretrained backbone and pictures of your own, in minutes",
        description=ABOUT,
    )
    command.set_defaults(run=_fit)
    add_data_arguments(command)
    add = command.add_argument
    add("--backbone", required=True, help="efficientnet_lite0, a network of torchvision, or timm/NAME")
    add("--weights", type=Path, metavar="FILE", help="its pretrained weights: safetensors, or a torch state_dict")
    add("--out", type=Path, required=True, metavar="BUNDLE", help="NAME/VERSION, or NAME for its next version")
    add(
        "--cache",
        type=Path,
        metavar="DIR",
        default=default_cache_folder(),
        help="where features are kept (%(default)s)",
    )
    head = HeadRecipe()
    add("--epochs", type=positive_int, help="of the head, over all features; by default 30, more for few pictures")
    add("--learning-rate", type=float, default=head.learning_rate, help="of the head, at first (default: %(default)g)")
    add("--weight-decay", type=float, default=head.weight_decay, help="of the head (default: %(default)g)")
    add(
        "--num-heads",
        type=positive_int,
        default=head.num_heads,
        help="K, into which features are split; must divide them",
    )
    add("--seed", type=seed, default=head.seed, help="of the head's weights and of the order")
    add(
        "--size",
        type=pixels,
        metavar="PIXELS",
        help="side of the square the backbone sees; by default as published",
    )
    add(
        "--resize",
        type=pixels,
        metavar="PIXELS",
        help="shorter side before that square is cut out; by default as published",
    )
    for name in ("mean", "std"):
        what = f"{name} of red, green and blue, of 1, that the pixels are normalised by; by default as published"
        add(f"--{name}", type=float, nargs=3, metavar=("R", "G", "B"), help=what)
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute the features")
    add("--threads", type=threads, help="that decode and compute; by default one for each core")


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
    print(f"wrote {bundle.path}; look at it with: uv run python -m models check {bundle.path}")
    print(f"serve it with: uv run python -m service --models {bundle.path.parent.parent}")
