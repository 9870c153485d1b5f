"""The command line of `python -m training train`: a recipe, changes to it, and where to compute."""

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from training.argument_types import seed, threads
from training.data.options import add_data_arguments, data_options
from training.output_files import check_output_folder
from training.recipe.methods import METHODS, with_method
from training.recipe.named_recipes import load_recipe, recipe_names
from training.recipe.recipe import Recipe
from training.recipe.settings import with_settings

if TYPE_CHECKING:
    from training.run.distributed import World

__all__ = ["add_train", "run_train"]


def add_train(commands: Any) -> None:
    """Add the command `train`."""
    command = commands.add_parser("train", help="train a recipe on a data set")
    command.set_defaults(run=run_train)
    command.add_argument("recipe", metavar="RECIPE", help=f"one of {', '.join(recipe_names())}")
    add_data_arguments(command)
    command.add_argument(
        "--out", type=Path, required=True, help="the run folder, for checkpoint and TensorBoard scalars"
    )
    command.add_argument(
        "--imbalance-ratio",
        type=_ratio,
        metavar="R",
        help="the imbalance ratio to cut the class folders to, instead of the recipe's; none keeps all pictures",
    )
    command.add_argument(
        "--epochs",
        type=int,
        help="epochs to train, instead of the recipe's; milestones and warm-up move in proportion",
    )
    command.add_argument(
        "--method", metavar="NAME", help=f"a published method to apply to the recipe: {', '.join(METHODS)}"
    )
    command.add_argument(
        "--network", help="the backbone, instead of the recipe's: see docs/reference/recipes.md, Networks"
    )
    command.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="pretrained weights to start from, as safetensors or a torch file",
    )
    command.add_argument(
        "--freeze",
        action="append",
        default=[],
        metavar="MODULE",
        help="freeze this part of the network, such as layer1; repeatable",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        dest="settings",
        help="change a field of the recipe, such as learning_rate=0.1; repeatable",
    )
    command.add_argument("--seed", type=seed, default=0, help="seed of weights, order and augmentation (default: 0)")
    command.add_argument(
        "--resume", action="store_true", help="continue the run in --out, or start it if there is none"
    )
    _add_device(command)


def _add_device(command: argparse.ArgumentParser) -> None:
    """Add the options for device, precision and threads."""
    command.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where to compute (default: auto, a GPU if there is one)",
    )
    command.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="the backbone's precision (default: auto, bfloat16 if the hardware supports it)",
    )
    command.add_argument(
        "--compile",
        action="store_true",
        help="compile the network first, which takes minutes; on GPUs, and on CPUs in float32",
    )
    command.add_argument("--threads", type=threads, help="torch's CPU threads (default: one per core)")


def run_train(options: argparse.Namespace) -> None:
    """Train, alone or as one of the processes of `options.world`."""
    from training.run.device import keep_memory  # noqa: PLC0415  loads torch
    from training.run.options import TrainOptions  # noqa: PLC0415
    from training.run.train import train  # noqa: PLC0415  loads torch

    world: World = options.world
    keep_memory()
    with world.together():
        if world.first:
            check_output_folder(options.out, "--out")
        recipe = _recipe(options)
        data = data_options(options)
    train(
        recipe,
        TrainOptions(
            data=data,
            out=options.out,
            seed=options.seed,
            device=options.device,
            precision=options.precision,
            threads=options.threads,
            weights=options.weights,
            set_fields=frozenset(setting.partition("=")[0] for setting in options.settings),
            compiled=options.compile,
            resume=options.resume,
            command=f"{world.launcher} -m training {shlex.join(sys.argv[1:])}",
        ),
        world,
    )


def _ratio(text: str) -> float | Literal["none"]:
    try:
        return "none" if text == "none" else float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number, such as 100, nor none") from error


def _recipe(options: argparse.Namespace) -> Recipe:
    recipe = load_recipe(options.recipe)
    if options.imbalance_ratio is not None:
        ratio = None if options.imbalance_ratio == "none" else options.imbalance_ratio
        recipe = replace(recipe, imbalance_ratio=ratio)
    if options.epochs is not None:
        recipe = recipe.with_epochs(options.epochs)
    if options.method is not None:
        recipe = with_method(recipe, options.method)
    if options.network is not None:
        recipe = replace(recipe, network=options.network)
    if options.freeze:
        recipe = replace(recipe, frozen=tuple(options.freeze))
    return with_settings(recipe, options.settings)
