"""What of a model to serve: pure, no clock, no files, no threads.

Its highest good versions, as many as are served at once. What lies in the folder is compared with what is loaded and
with what was refused, by fingerprint: a refused version is left alone until its files change, and one that runs goes on
running when bad files take the place of its own. Nothing is taken out before what shall replace it has been loaded.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from service.catalog.scan import Fingerprint

__all__ = ["Plan", "plan", "still_refused"]


class Plan(NamedTuple):
    """What to do next: load this version; or, where that is None, serve exactly these, ascending."""

    load: int | None
    serve: tuple[int, ...]


def plan(
    found: Mapping[int, Fingerprint], loaded: Mapping[int, Fingerprint], refused: Collection[int], *, most: int
) -> Plan:
    """Decide what to do about one model.

    Args:
        found: what lies in its folder.
        loaded: what is in memory.
        refused: versions that are not to be tried.
        most: how many are served at once.

    >>> plan({1: "a", 2: "b"}, {1: "a"}, [], most=1)
    Plan(load=2, serve=())
    >>> plan({1: "a", 2: "b"}, {1: "a"}, [2], most=1)
    Plan(load=None, serve=(1,))

    """
    chosen: list[int] = []
    for version in sorted(found, reverse=True):
        if len(chosen) == most:
            break
        if version in loaded and (version in refused or loaded[version] == found[version]):
            chosen.append(version)
        elif version not in refused:
            return Plan(version, ())
    return Plan(None, tuple(reversed(chosen)))


def still_refused(
    found: Mapping[int, Fingerprint], before: Mapping[int, Fingerprint], refused: Mapping[int, Fingerprint]
) -> set[int]:
    """Return the versions that are not worth another try.

    One whose files are as they were is not; one whose files have changed is, once they hold still: a folder that is
    being copied is looked at when that is over, and not at every look in between.

    Args:
        found: what lies in the folder.
        before: what lay there at the look before.
        refused: the fingerprint that each was refused with.

    """
    return {
        version
        for version, bad in refused.items()
        if version in found and (found[version] == bad or found[version] != before.get(version))
    }
