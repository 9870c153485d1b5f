"""Run one command of `python -m training`, alone or in one of several processes, and return its exit code."""

import argparse
import sys

from models.errors import LongtailError
from training.cli.command_line import command_line
from training.cli.train_command import run_train
from training.errors import LostProcessError, ProcessError, TrainingError
from training.run.distributed import Terminated, World, tell_launcher

__all__ = ["parse_together", "run_command"]


def run_command(words: list[str], options: argparse.Namespace | None = None) -> int:
    """Run one command. Of several processes, the first prints errors, and any that fails alone.

    Args:
        words: the command line.
        options: the same, parsed; None parses it here, so that no process ends before the first has printed.

    Returns:
        The exit code: 0 on success, 1 if other processes were lost, 2 for an error that the user can fix, 130 after
        Ctrl-C, 143 after SIGTERM.

    """
    hint = "; the last epoch's checkpoint is kept, `--resume` continues from it" if words[:1] == ["train"] else ""
    world = World()
    code = 0
    message = ""
    try:
        world = World.from_environment()
        with world.connected():
            if options is None:
                options = parse_together(words, world)
            options.world = world
            options.run(options)
    except (TrainingError, LongtailError, OSError) as error:
        code = 1 if isinstance(error, LostProcessError) else 2
        message = f"error: {error}"
        if isinstance(error, ProcessError):
            world = World()
    except KeyboardInterrupt:
        code = 130
        message = f"stopped{hint}"
    except Terminated:
        code = 143
        message = f"stopped by SIGTERM{hint}"
    if code == 2:
        tell_launcher(message)
    if message and world.first:
        print(message, file=sys.stderr)
    return code


def parse_together(words: list[str], world: World) -> argparse.Namespace:
    """Parse the command line in each of several processes; only the first one prints.

    Raises:
        TrainingError: the command runs in one process only.
        SystemExit: argparse printed help or a usage error.

    """
    with world.silence():
        options = command_line().parse_args(words)
    with world.together():
        if world.size > 1 and options.run is not run_train:
            raise TrainingError(f"`{words[0]}` runs in one process, only `train` in several; start it without torchrun")
    return options
