"""The state of the catalog: which versions are in the models folder, in memory or refused, and why.

It has no threads, clock or files. The reconciler reports what it finds, and asks for the next step.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from service.catalog.plan import Plan, plan, still_refused
from service.catalog.scan import Fingerprint, Scan
from service.inference.registry import ServedModel

__all__ = ["CatalogEntry", "CatalogState", "Refusal"]

MAX_REASON_LENGTH = 600


class CatalogEntry(NamedTuple):
    """A version in the models folder and its state; `version` is the name of its folder, "" if it has none."""

    name: str
    version: str
    state: Literal["READY", "LOADING", "UNAVAILABLE"]
    reason: str


class Refusal(NamedTuple):
    """An entry of the models folder that cannot be served.

    Args:
        name: the model's folder.
        version: the version, or the name of a folder that is not a version; None if the model's own folder is refused.
        reason: a sentence for people.
        since: seconds since 1970.

    """

    name: str
    version: int | str | None
    reason: str
    since: float


class _Refused(NamedTuple):
    fingerprint: Fingerprint
    refusal: Refusal


class _Loaded(NamedTuple):
    fingerprint: Fingerprint
    served: ServedModel


class CatalogState:
    """The last scan of the models folder, and the results of loading its bundles.

    Args:
        max_versions: the number of versions of a model to serve.

    Attributes:
        unloaded: the names that clients have unloaded, which are not served.

    """

    def __init__(self, max_versions: int) -> None:
        self._max_versions = max_versions
        self._found: dict[str, dict[int, Fingerprint]] = {}
        self._not_to_try: dict[str, set[int]] = {}
        self._loaded: dict[str, dict[int, _Loaded]] = {}
        self._refused: dict[str, dict[int, _Refused]] = {}
        self._invalid: dict[tuple[str, str], Refusal] = {}
        self.unloaded: frozenset[str] = frozenset()

    def record_scan(self, seen: Scan, now: float, only: Iterable[str] | None = None) -> list[Refusal]:
        """Record a scan of all names, or of some, and return the invalid folders that are new.

        A name whose folder could not be listed keeps its state.
        """
        names = seen.models.keys() | self._found.keys() if only is None else set(only)
        for name in names - seen.unreadable:
            before = self._found.get(name, {})
            found = dict(seen.models.get(name, {}))
            bad = {version: refused.fingerprint for version, refused in self._refused.get(name, {}).items()}
            self._not_to_try[name] = still_refused(found, before, bad)
            self._found[name] = found
            self._refused[name] = {v: refused for v, refused in self._refused.get(name, {}).items() if v in found}
            if name not in seen.models:
                for known in (self._found, self._not_to_try, self._refused):
                    del known[name]
        return self._record_invalid(
            {key: reason for key, reason in seen.invalid.items() if only is None or key[0] in names},
            {} if only is None else {key: old for key, old in self._invalid.items() if key[0] not in names},
            now,
        )

    def try_again(self, name: str) -> None:
        """Forget the refusals of a model, so that its versions are tried again without a change of files."""
        self._refused.pop(name, None)
        self._not_to_try.pop(name, None)

    def names(self) -> list[str]:
        """Return the names of the models in the folder or in memory, sorted."""
        return sorted(self._found.keys() | self._loaded.keys())

    def plan(self, name: str) -> Plan:
        """Return the next step for a model."""
        if name in self.unloaded:
            return Plan(None, ())
        loaded = {version: entry.fingerprint for version, entry in self._loaded.get(name, {}).items()}
        not_to_try = self._not_to_try.get(name, set())
        return plan(self._found.get(name, {}), loaded, not_to_try, max_versions=self._max_versions)

    def add_loaded(self, name: str, version: int, fingerprint: Fingerprint, served: ServedModel) -> None:
        """Record that a version was loaded from files with this fingerprint."""
        self._found.setdefault(name, {})[version] = fingerprint
        self._loaded.setdefault(name, {})[version] = _Loaded(fingerprint, served)
        self._refused.get(name, {}).pop(version, None)
        self._not_to_try.get(name, set()).discard(version)

    def add_refused(self, name: str, version: int, fingerprint: Fingerprint, reason: str, now: float) -> None:
        """Record that the files with this fingerprint cannot be served."""
        text = reason.encode("utf-8", "replace").decode()
        text = text if len(text) <= MAX_REASON_LENGTH else f"{text[:MAX_REASON_LENGTH]}…"
        self._found.setdefault(name, {})[version] = fingerprint
        self._refused.setdefault(name, {})[version] = _Refused(fingerprint, Refusal(name, version, text, now))
        self._not_to_try.setdefault(name, set()).add(version)

    def keep_only(self, name: str, versions: Iterable[int]) -> tuple[ServedModel, ...]:
        """Release all versions of a model but these, and return these."""
        kept = {version: self._loaded[name][version] for version in versions}
        self._loaded[name] = kept
        if not kept:
            del self._loaded[name]
        return tuple(entry.served for entry in kept.values())

    def versions_in_folder(self, name: str) -> list[int]:
        """Return the versions in a model's folder, good or bad."""
        return sorted(self._found.get(name, {}))

    def refusals(self) -> tuple[Refusal, ...]:
        """Return everything in the folder that is refused, sorted."""
        bad = [refused.refusal for versions in self._refused.values() for refused in versions.values()]
        return tuple(sorted([*bad, *self._invalid.values()], key=_sort_key))

    def entries(self, in_service: Mapping[str, Iterable[int]], loading: tuple[str, int] | None) -> list[CatalogEntry]:
        """Return every version in the folder or in service with its state.

        Args:
            in_service: name -> versions in service.
            loading: the name and version that is being loaded now.

        """
        entries = []
        for name in sorted(self._found.keys() | in_service.keys()):
            served = set(in_service.get(name, ()))
            for version in sorted(served | self._found.get(name, {}).keys()):
                entries.append(CatalogEntry(name, str(version), *self._state(name, version, served, loading)))
        invalid = [
            CatalogEntry(name, version, "UNAVAILABLE", refusal.reason)
            for (name, version), refusal in self._invalid.items()
        ]
        return sorted([*entries, *invalid], key=lambda entry: entry.name)

    def _record_invalid(
        self, reasons: Mapping[tuple[str, str], str], others: Mapping[tuple[str, str], Refusal], now: float
    ) -> list[Refusal]:
        """Record the invalid folders of a scan beside those outside of it, and return the new ones."""
        kept = dict(others)
        new = []
        for key, reason in reasons.items():
            old = self._invalid.get(key)
            kept[key] = old if old and old.reason == reason else Refusal(key[0], key[1] or None, reason, now)
            if kept[key] is not old:
                new.append(kept[key])
        self._invalid = kept
        return new

    def _state(
        self, name: str, version: int, served: set[int], loading: tuple[str, int] | None
    ) -> tuple[Literal["READY", "LOADING", "UNAVAILABLE"], str]:
        refused = self._refused.get(name, {}).get(version)
        if version in served:
            return (
                "READY",
                f"stays in service, but its new files are refused: {refused.refusal.reason}" if refused else "",
            )
        if name in self.unloaded:
            return "UNAVAILABLE", "unloaded; load it to have it served"
        if refused:
            return "UNAVAILABLE", refused.refusal.reason
        if (name, version) == loading or self.plan(name).load == version:
            return "LOADING", ""
        return "UNAVAILABLE", f"only the {self._max_versions} highest good versions are served"


def _sort_key(refusal: Refusal) -> tuple[str, bool, int, str]:
    version = refusal.version
    return refusal.name, isinstance(version, str), version if isinstance(version, int) else 0, str(version)
