"""Which network a model's name and version stand for, so that no two networks' numbers are ever mixed.

A label's interval is a property of one network. Where a bundle comes back under the same name and version with other
weights or classes, what is kept of the one before means nothing any more: its results and its labels are deleted, and
what was stored of alpha is taken out of force, which its history says. At start (`settle`) that is done before anything
else uses the database; while the server runs (`Networks`), before a model comes into service. Where one takes the place
of another under the same version it is done after the swap too, as pictures were classified with the other until then.
"""

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, delete, func, select

from models.bundle import GRAPH, HEAD
from models.manifest import Manifest
from service.feedback.kept_results import KeptResults
from service.inference.registry import Registry, ServedModel
from service.storage.database import Database, StorageUnavailableError, insert_or_update
from service.storage.migrate import wait_for_migration_lock
from service.storage.point_changes import remove_all
from service.storage.tables import feedback, kept_chunks, networks

__all__ = ["Network", "Networks", "network_of", "settle"]

log = logging.getLogger("longtail.networks")
TURN_SECONDS = 5.0
WHO = "longtail"
WHY = "another network came under this name and version"


class Network(NamedTuple):
    """What a name and a version stand for: a digest of weights, class effect, and the classes in their order."""

    model: str
    version: int
    sha256: str


def network_of(manifest: Manifest) -> Network:
    """Return the network of a bundle; operating points, metrics and the model card are no part of it."""
    classes = [info.name for info in manifest.classes]
    parts = json.dumps([manifest.sha256[GRAPH], manifest.sha256[HEAD], classes, manifest.exempt_class])
    return Network(manifest.name, manifest.version, hashlib.sha256(parts.encode()).hexdigest())


class Networks:
    """Settles the networks that are in service, at start and whenever others come.

    Args:
        database: where they are noted.
        registry: the models in service.
        results: the numbers of recent results, some of them still in memory.
        clock: seconds since 1970.

    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        results: KeptResults,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._registry = registry
        self._results = results
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Settle what is in service now, or once the database is there, before anything else uses it."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._database.start, self._settle_all)

    def swap(self, old: Sequence[ServedModel], new: Sequence[ServedModel], put: Callable[[], None]) -> None:
        """Let the versions of one model be replaced by others.

        Args:
            old: those in service.
            new: those that take their place.
            put: puts them there, in one step.

        """
        if self._loop is None:  # the server has not started; it settles all when it does
            put()
            return
        before = {served.version: network_of(served.bundle.manifest) for served in old}
        coming = [network_of(served.bundle.manifest) for served in new]
        changed = [each for each in coming if before.get(each.version, each) != each]
        settled = self._settle([each for each in coming if each not in changed])
        put()
        if changed:
            # Once the loop has turned nobody is between asking which model is in service and keeping its result.
            with suppress(RuntimeError):
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(TURN_SECONDS)
            for network in changed:
                self._results.forget(network.model, network.version)
            settled = self._settle(changed, again=True) and settled
        if not settled:
            log.warning("the database is away: what it keeps is settled with the models before it is used again")
            self._database.prepare_again()

    def _settle(self, networks: Sequence[Network], *, again: bool = False) -> bool:
        def work(connection: Connection) -> None:
            settle(connection, networks, self._clock())
            for network in networks if again else ():
                _delete_numbers(connection, network)

        try:
            self._database.run_sync(work)
        except StorageUnavailableError:
            return False
        return True

    def _settle_all(self, connection: Connection) -> None:
        names = [served.name for served in self._registry]
        served = [each for name in names for each in self._registry.versions_of(name)]
        settle(connection, [network_of(each.bundle.manifest) for each in served], self._clock())


def settle(connection: Connection, served: Iterable[Network], now: float) -> None:
    """Take note of the networks that are served, and put away what is kept of others under the same names.

    Nothing is known of a name that is not noted yet; what is kept under it stays.

    Args:
        connection: in a transaction that may write; whoever does the same at the same moment is waited for.
        served: the networks.
        now: seconds since 1970.

    """
    wanted = list(served)
    if not _changed(connection, wanted):
        return
    wait_for_migration_lock(connection)
    for network, is_known in _changed(connection, wanted):
        if is_known:
            _put_away(connection, network, now)
        insert_or_update(connection, networks, [network._asdict()])


def _changed(connection: Connection, served: list[Network]) -> list[tuple[Network, bool]]:
    """Return the networks that are not the noted ones, and whether another is."""
    rows = connection.execute(select(networks.c.model, networks.c.version, networks.c.sha256))
    noted = {(model, version): sha256 for model, version, sha256 in rows}
    return [
        (each, each[:2] in noted) for each in sorted(served) if noted.get((each.model, each.version)) != each.sha256
    ]


def _put_away(connection: Connection, network: Network, now: float) -> None:
    results, labels = _delete_numbers(connection, network)
    points = remove_all(connection, network.model, network.version, who=WHO, why=WHY, time=now)
    log.warning(
        "%s version %d is another network than before: deleted %d kept results and %d labels of that one; %s",
        network.model,
        network.version,
        results,
        labels,
        f"no longer in force: {', '.join(points)}" if points else "no operating point was stored",
    )


def _delete_numbers(connection: Connection, network: Network) -> tuple[int, int]:
    """Delete results and labels under a network's name and version; return how many that were."""

    def mine(table: Table) -> ColumnElement[bool]:
        return (table.c.model == network.model) & (table.c.version == network.version)

    results = connection.scalar(select(func.sum(kept_chunks.c.images)).where(mine(kept_chunks))) or 0
    connection.execute(delete(kept_chunks).where(mine(kept_chunks)))
    return results, connection.execute(delete(feedback).where(mine(feedback))).rowcount
