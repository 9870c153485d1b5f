"""The checkpoint file of a run: everything needed to continue or export it, in one file that is whole or absent.

The file holds only tensors and plain values and is read with `weights_only`, so a checkpoint cannot carry code.
"""

import io
import os
import subprocess
from pathlib import Path
from typing import Any

import torch

from training.errors import CheckpointError

__all__ = ["CHECKPOINT_NAME", "load_checkpoint", "save_checkpoint", "source_commit"]

CHECKPOINT_NAME = "checkpoint.pt"
FORMAT = 1


def save_checkpoint(run: Path, values: dict[str, Any]) -> None:
    """Write the values to `RUN/checkpoint.pt`; a crash leaves the previous file untouched."""
    target = run / CHECKPOINT_NAME
    part = target.with_suffix(".part")
    with part.open("wb") as file:
        torch.save({"format": FORMAT, **values}, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(target)


def load_checkpoint(run: Path, content: bytes | None = None) -> dict[str, Any]:
    """Read a run's values, with tensors on the CPU.

    Args:
        run: the run folder.
        content: its checkpoint, if another process has read it.

    Raises:
        CheckpointError: there is no checkpoint, it cannot be read, or it is of another format.

    """
    path = run / CHECKPOINT_NAME
    if content is None and not path.is_file():
        raise CheckpointError(f"{run}: no {CHECKPOINT_NAME} here; is this the folder given to `train --out`?")
    source = path if content is None else io.BytesIO(content)
    try:
        values: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path}: not a readable checkpoint ({type(error).__name__}); train again or restore it"
        ) from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of format {FORMAT} written by `python -m training train`")
    return values


def source_commit() -> str:
    """Return this code's git commit, with `-dirty` if files were changed; `unknown` outside a git checkout."""
    root = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],  # noqa: S607  git, from the PATH
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
