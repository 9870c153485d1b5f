"""Records which network a model's name and version stand for, so that data of two networks is never mixed.

A label's interval is a property of one network. If another bundle, with other weights or classes, comes under the same
name and version, the kept results and labels of the previous network are meaningless: they are deleted, and the stored
operating points are removed, which their history shows. At the start this happens before any other use of the database,
and while the server runs, before a model comes into service. If the new network replaces the old one under the same
version, the results are deleted again after the swap, because the old network classified pictures until then.
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

__all__ = ["Network", "Networks", "network_of", "record_networks"]

log = logging.getLogger("longtail.networks")
MAX_LOOP_SECONDS = 5.0
WHO = "longtail"
WHY = "another network came under this name and version"


class Network(NamedTuple):
    """The network of a name and version: a digest of the weights, the class effect and the classes in order."""

    model: str
    version: int
    sha256: str


def network_of(manifest: Manifest) -> Network:
    """Return the network of a bundle. Operating points, metrics and the model card do not count."""
    classes = [info.name for info in manifest.classes]
    parts = json.dumps([manifest.sha256[GRAPH], manifest.sha256[HEAD], classes, manifest.exempt_class])
    return Network(manifest.name, manifest.version, hashlib.sha256(parts.encode()).hexdigest())


class Networks:
    """Records the networks in service, at the start and whenever models change.

    Args:
        database: the database with the table of networks.
        registry: the models in service.
        results: the kept results, some of which are still in memory.
        clock: returns seconds since 1970.

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
        """Record the networks in service now, or as soon as the database is available, before any other use of it."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._database.start, self._record_all)

    def swap(self, old: Sequence[ServedModel], new: Sequence[ServedModel], replace: Callable[[], None]) -> None:
        """Replace the versions of one model that are in service.

        Args:
            old: the versions in service.
            new: the versions that replace them.
            replace: replaces them in the registry, atomically.

        """
        if self._loop is None:  # the server has not started; `start` records everything
            replace()
            return
        before = {served.version: network_of(served.bundle.manifest) for served in old}
        after = [network_of(served.bundle.manifest) for served in new]
        changed = [network for network in after if before.get(network.version, network) != network]
        recorded = self._record([network for network in after if network not in changed])
        replace()
        if changed:
            # After one round of the event loop no request is between getting its model and adding its result.
            with suppress(RuntimeError):
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(MAX_LOOP_SECONDS)
            for network in changed:
                self._results.forget(network.model, network.version)
            recorded = self._record(changed, delete_results=True) and recorded
        if not recorded:
            log.warning("the database is unavailable; its data is checked against the models before it is used again")
            self._database.prepare_again()

    def _record(self, networks: Sequence[Network], *, delete_results: bool = False) -> bool:
        """Record networks, and return whether the database was available."""

        def work(connection: Connection) -> None:
            record_networks(connection, networks, self._clock())
            for network in networks if delete_results else ():
                _delete_results(connection, network)

        try:
            self._database.run_sync(work)
        except StorageUnavailableError:
            return False
        return True

    def _record_all(self, connection: Connection) -> None:
        names = [served.name for served in self._registry]
        models = [served for name in names for served in self._registry.versions_of(name)]
        record_networks(connection, [network_of(served.bundle.manifest) for served in models], self._clock())


def record_networks(connection: Connection, served: Iterable[Network], now: float) -> None:
    """Record the networks in service, and delete the data of other networks with the same name and version.

    Data under a name and version that was never recorded stays.

    Args:
        connection: a transaction that may write. It waits for other processes that do the same.
        served: the networks in service.
        now: seconds since 1970.

    """
    in_service = list(served)
    if not _changed(connection, in_service):
        return
    wait_for_migration_lock(connection)
    for network, replaces_another in _changed(connection, in_service):
        if replaces_another:
            _delete_data(connection, network, now)
        insert_or_update(connection, networks, [network._asdict()])


def _changed(connection: Connection, served: list[Network]) -> list[tuple[Network, bool]]:
    """Return the networks that are not recorded, each with whether another network is recorded in its place."""
    rows = connection.execute(select(networks.c.model, networks.c.version, networks.c.sha256))
    recorded = {(model, version): sha256 for model, version, sha256 in rows}
    return [
        (network, network[:2] in recorded)
        for network in sorted(served)
        if recorded.get((network.model, network.version)) != network.sha256
    ]


def _delete_data(connection: Connection, network: Network, now: float) -> None:
    """Delete the results and labels under a network's name and version, and remove its stored operating points."""
    results, labels = _delete_results(connection, network)
    points = remove_all(connection, network.model, network.version, who=WHO, why=WHY, time=now)
    log.warning(
        "%s version %d is another network than before; deleted %d kept results and %d labels of the old one; %s",
        network.model,
        network.version,
        results,
        labels,
        f"no longer in force: {', '.join(points)}" if points else "it had no stored operating points",
    )


def _delete_results(connection: Connection, network: Network) -> tuple[int, int]:
    """Delete the results and labels under a network's name and version, and return the number of each."""

    def of_version(table: Table) -> ColumnElement[bool]:
        return (table.c.model == network.model) & (table.c.version == network.version)

    results = connection.scalar(select(func.sum(kept_chunks.c.images)).where(of_version(kept_chunks))) or 0
    connection.execute(delete(kept_chunks).where(of_version(kept_chunks)))
    return results, connection.execute(delete(feedback).where(of_version(feedback))).rowcount
