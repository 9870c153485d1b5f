"""`python -m training`: parses the command line before torch is loaded, so help and usage errors appear at once."""

import os
import sys

from training.cli.command_line import command_line

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code, see `run_command`."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        # Of several processes only the first prints, which `run_command` sees to, so parsing waits for it.
        options = None if "RANK" in os.environ else command_line().parse_args(words)
        from training.cli.run_command import run_command  # noqa: PLC0415  loads torch
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":
            print("stopped", file=sys.stderr)
        return 130
    return run_command(words, options)


if __name__ == "__main__":
    sys.exit(main())
