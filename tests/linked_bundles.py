"""Bundles behind links, as deployments make them: a store with a link to each release, and Kubernetes volumes."""

import os
import shutil
from pathlib import Path

__all__ = ["switch", "volume"]


def switch(link: Path, target: Path | str) -> None:
    """Make a link lead to another place in one step, as `ln -sfn` and deployment tools do."""
    fresh = link.with_name(f".{link.name}.new")
    fresh.symlink_to(target)
    fresh.replace(link)


def volume(folder: Path, source: Path, release: str) -> None:
    """Fill a folder as Kubernetes fills a volume: files are links into `..data`, a link that is switched at once.

    Args:
        folder: the volume; a second call switches it to another release and removes the one before.
        source: the folder whose entries it shows.
        release: the name of the hidden folder.

    """
    folder.mkdir(parents=True, exist_ok=True)
    old = folder / os.readlink(folder / "..data") if os.path.lexists(folder / "..data") else None  # noqa: PTH115
    shutil.copytree(source, folder / f"..{release}")
    switch(folder / "..data", f"..{release}")
    for entry in source.iterdir():
        if not os.path.lexists(folder / entry.name):
            (folder / entry.name).symlink_to(f"..data/{entry.name}")
    if old:
        shutil.rmtree(old)
