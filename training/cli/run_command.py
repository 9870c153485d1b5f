"""One command of `python -m training` from its words to its exit code, alone or in one of several processes."""

import argparse
import sys

from models.errors import LongtailError
from training.cli.command_line import command_line
from training.cli.train_command import run_train
from training.errors import LostProcessError, ProcessError, TrainingError
from training.run.distributed import Terminated, World, tell_launcher

__all__ = ["parse_together", "run_command"]


def run_command(words: list[str], options: argparse.Namespace | None = None) -> int:
    """Run one command. Of several processes the first speaks for all, unless one has trouble of its own.

    Args:
        words: the command line.
        options: the same, parsed; several processes parse it here, so that none is gone before the first has spoken.

    Returns:
        The exit code: 0 done, 1 other processes are lost, 2 the user has to mend something, 130 after Ctrl-C, 143 after
        SIGTERM.

    """
    hint = "; the last epoch's checkpoint stays, `--resume` goes on from it" if words[:1] == ["train"] else ""
    world = World()
    code = 0
    said = ""
    try:
        world = World.from_environment()
        with world.connected():
            if options is None:
                options = parse_together(words, world)
            options.world = world
            options.run(options)
    except (TrainingError, LongtailError, OSError) as error:
        code = 1 if isinstance(error, LostProcessError) else 2
        said = f"error: {error}"
        if isinstance(error, ProcessError):
            world = World()
    except KeyboardInterrupt:
        code = 130
        said = f"stopped{hint}"
    except Terminated:
        code = 143
        said = f"stopped by SIGTERM{hint}"
    if code == 2:
        tell_launcher(said)
    if said and world.first:
        print(said, file=sys.stderr)
    return code


def parse_together(words: list[str], world: World) -> argparse.Namespace:
    """Parse the command line in each of several processes; only the first one prints.

    Raises:
        TrainingError: a command that runs in one process.
        SystemExit: help was asked for, or the words are wrong.

    """
    with world.silence():
        options = command_line().parse_args(words)
    with world.together():
        if world.size > 1 and options.run is not run_train:
            raise TrainingError(f"`{words[0]}` runs in one process, only `train` in several; start it without torchrun")
    return options
