"""Which network a model's name and version stand for, so that no two networks' numbers are ever mixed.

A label's interval is a property of one network. Where a bundle comes back under the same name and version with other
weights or classes, what is kept of the one before means nothing any more: its results and its labels are deleted, and
what was stored of alpha is taken out of force, which its history says.
"""

import hashlib
import json
import logging
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, Table, delete, select

from models.bundle import GRAPH, HEAD
from models.manifest import Manifest
from service.storage.database import insert_or_update
from service.storage.migrate import one_at_a_time
from service.storage.operating_points import remove_all
from service.storage.tables import feedback, kept_results, networks

__all__ = ["Network", "network_of", "settle"]

log = logging.getLogger("longtail.networks")
WHO, WHY = "longtail", "another network came under this name and version"


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
    one_at_a_time(connection)
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
    def delete_from(table: Table) -> int:
        mine = (table.c.model == network.model) & (table.c.version == network.version)
        return connection.execute(delete(table).where(mine)).rowcount

    results, labels = delete_from(kept_results), delete_from(feedback)
    points = remove_all(connection, network.model, network.version, who=WHO, why=WHY, time=now)
    log.warning(
        "%s version %d is another network than before: deleted %d kept results and %d labels of that one; %s",
        network.model,
        network.version,
        results,
        labels,
        f"no longer in force: {', '.join(points)}" if points else "no operating point was stored",
    )
