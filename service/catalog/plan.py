"""Decides which versions of a model to serve, without clock, files or threads.

The catalog serves a model's highest good versions, up to a number. The versions in the folder are compared by
fingerprint with those that are loaded and those that were refused. A refused version is not tried again until its files
change. A version in service stays there if bad files replace its own. A version is taken out of service only after its
replacement was loaded.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from service.catalog.scan import Fingerprint

__all__ = ["Plan", "plan", "still_refused"]


class Plan(NamedTuple):
    """The next step: load this version; or, if it is None, serve exactly these versions, in ascending order."""

    load: int | None
    serve: tuple[int, ...]


def plan(
    found: Mapping[int, Fingerprint], loaded: Mapping[int, Fingerprint], refused: Collection[int], *, max_versions: int
) -> Plan:
    """Return the next step for one model.

    Args:
        found: the versions in the model's folder.
        loaded: the versions in memory.
        refused: the versions not to try.
        max_versions: the number of versions to serve.

    >>> plan({1: "a", 2: "b"}, {1: "a"}, [], max_versions=1)
    Plan(load=2, serve=())
    >>> plan({1: "a", 2: "b"}, {1: "a"}, [2], max_versions=1)
    Plan(load=None, serve=(1,))

    """
    chosen: list[int] = []
    for version in sorted(found, reverse=True):
        if len(chosen) == max_versions:
            break
        if version in loaded and (version in refused or loaded[version] == found[version]):
            chosen.append(version)
        elif version not in refused:
            return Plan(version, ())
    return Plan(None, tuple(reversed(chosen)))


def still_refused(
    found: Mapping[int, Fingerprint], before: Mapping[int, Fingerprint], refused: Mapping[int, Fingerprint]
) -> set[int]:
    """Return the refused versions that should not be tried again.

    A version is tried again if its files differ from the refused ones and have not changed since the scan before. So a
    folder that is being copied is tried once, after the copy is complete.

    Args:
        found: the versions in the folder.
        before: the versions at the scan before.
        refused: the fingerprint of each refused version when it was refused.

    """
    return {
        version
        for version, fingerprint in refused.items()
        if version in found and (found[version] == fingerprint or found[version] != before.get(version))
    }
