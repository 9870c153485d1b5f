"""What is known of the models folder: what lies there, what of it is in memory, what was refused and why.

No threads, no clock, no files: `service/catalog/catalog.py` brings what it has seen, and asks what to do next.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from service.catalog.plan import Plan, plan, still_refused
from service.catalog.scan import Fingerprint, Scan
from service.inference.registry import ServedModel

__all__ = ["CatalogEntry", "CatalogState", "Refusal"]

MAX_REASON_LENGTH = 600


class CatalogEntry(NamedTuple):
    """A version in the models folder and how it stands; `version` is its folder's name, "" where there is none."""

    name: str
    version: str
    state: Literal["READY", "LOADING", "UNAVAILABLE"]
    reason: str


class Refusal(NamedTuple):
    """What is not served although it lies in the models folder.

    Args:
        name: the model's folder.
        version: its version; the name of the folder in its place; None where the model's own folder is meant.
        reason: a sentence.
        since: seconds since 1970.

    """

    name: str
    version: int | str | None
    reason: str
    since: float


class _Refused(NamedTuple):
    mark: Fingerprint
    refusal: Refusal


class _Loaded(NamedTuple):
    mark: Fingerprint
    served: ServedModel


class CatalogState:
    """The models folder as it was seen last, and what came of it.

    Args:
        most: how many versions of a model are served at once.

    Attributes:
        kept_out: names that are not to be served, whatever lies in the folder.

    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: dict[str, dict[int, Fingerprint]] = {}
        self._moving: dict[str, set[int]] = {}  # refused, and not worth another try now
        self._loaded: dict[str, dict[int, _Loaded]] = {}
        self._refused: dict[str, dict[int, _Refused]] = {}
        self._strange: dict[tuple[str, str], Refusal] = {}
        self.kept_out: frozenset[str] = frozenset()

    def see(self, seen: Scan, now: float, only: Iterable[str] | None = None) -> list[Refusal]:
        """Take note of what lies in the folder, of all names or of a few.

        A name that cannot be looked at just now stays as it was. Returns what is strange and was not before.
        """
        wanted = seen.models.keys() | self._found.keys() if only is None else set(only)
        for name in wanted - seen.unreadable:
            before = self._found.get(name, {})
            found = dict(seen.models.get(name, {}))
            bad = {version: each.mark for version, each in self._refused.get(name, {}).items()}
            self._moving[name] = still_refused(found, before, bad)
            self._found[name] = found
            self._refused[name] = {v: each for v, each in self._refused.get(name, {}).items() if v in found}
            if name not in seen.models:
                for known in (self._found, self._moving, self._refused):
                    del known[name]
        strange = {key: why for key, why in seen.strange.items() if only is None or key[0] in wanted}
        kept = {} if only is None else {key: each for key, each in self._strange.items() if key[0] not in wanted}
        before_all = self._strange
        fresh = []
        for key, why in strange.items():
            old = before_all.get(key)
            kept[key] = old if old and old.reason == why else Refusal(key[0], key[1] or None, why, now)
            if kept[key] is not old:
                fresh.append(kept[key])
        self._strange = kept
        return fresh

    def forgive(self, name: str) -> None:
        """Let what was refused of a model be tried again, although nothing has changed."""
        self._refused.pop(name, None)
        self._moving.pop(name, None)

    def names(self) -> list[str]:
        """Return the models in the folder and those in memory."""
        return sorted(self._found.keys() | self._loaded.keys())

    def plan(self, name: str) -> Plan:
        """Return what to do next about a model."""
        if name in self.kept_out:
            return Plan(None, ())
        loaded = {version: each.mark for version, each in self._loaded.get(name, {}).items()}
        return plan(self._found.get(name, {}), loaded, self._moving.get(name, set()), most=self._most)

    def add(self, name: str, version: int, mark: Fingerprint, served: ServedModel) -> None:
        """Take note that a version was loaded from files with this fingerprint."""
        self._found.setdefault(name, {})[version] = mark
        self._loaded.setdefault(name, {})[version] = _Loaded(mark, served)
        self._refused.get(name, {}).pop(version, None)
        self._moving.get(name, set()).discard(version)

    def refuse(self, name: str, version: int, mark: Fingerprint, reason: str, now: float) -> None:
        """Take note that the files with this fingerprint are no good."""
        text = reason.encode("utf-8", "replace").decode()
        text = text if len(text) <= MAX_REASON_LENGTH else f"{text[:MAX_REASON_LENGTH]}…"
        self._found.setdefault(name, {})[version] = mark
        self._refused.setdefault(name, {})[version] = _Refused(mark, Refusal(name, version, text, now))
        self._moving.setdefault(name, set()).add(version)

    def keep(self, name: str, versions: Iterable[int]) -> tuple[ServedModel, ...]:
        """Drop from memory all but these versions of a model, and return those."""
        kept = {version: self._loaded[name][version] for version in versions}
        self._loaded[name] = kept
        if not kept:
            del self._loaded[name]
        return tuple(each.served for each in kept.values())

    def versions_in_folder(self, name: str) -> list[int]:
        """Return the versions that lie in a model's folder, good or bad."""
        return sorted(self._found.get(name, {}))

    def refusals(self) -> tuple[Refusal, ...]:
        """Return what is refused, sorted."""
        bad = [each.refusal for versions in self._refused.values() for each in versions.values()]
        return tuple(sorted([*bad, *self._strange.values()], key=_in_order))

    def entries(self, in_service: Mapping[str, Iterable[int]], loading: tuple[str, int] | None) -> list[CatalogEntry]:
        """Return every version in the folder or in service, and how it stands.

        Args:
            in_service: the versions in service by name.
            loading: what is being loaded now.

        """
        found = []
        for name in sorted(self._found.keys() | in_service.keys()):
            running = set(in_service.get(name, ()))
            for version in sorted(running | self._found.get(name, {}).keys()):
                found.append(CatalogEntry(name, str(version), *self._state(name, version, running, loading)))
        odd = [
            CatalogEntry(name, version, "UNAVAILABLE", each.reason) for (name, version), each in self._strange.items()
        ]
        return sorted([*found, *odd], key=lambda each: each.name)

    def _state(
        self, name: str, version: int, running: set[int], loading: tuple[str, int] | None
    ) -> tuple[Literal["READY", "LOADING", "UNAVAILABLE"], str]:
        bad = self._refused.get(name, {}).get(version)
        if version in running:
            return "READY", f"goes on running although its files are refused: {bad.refusal.reason}" if bad else ""
        if name in self.kept_out:
            return "UNAVAILABLE", "unloaded; load it to have it served"
        if bad:
            return "UNAVAILABLE", bad.refusal.reason
        if (name, version) == loading or self.plan(name).load == version:
            return "LOADING", ""
        return "UNAVAILABLE", f"only the {self._most} highest good versions are served"


def _in_order(refusal: Refusal) -> tuple[str, bool, int, str]:
    version = refusal.version
    return refusal.name, isinstance(version, str), version if isinstance(version, int) else 0, str(version)
