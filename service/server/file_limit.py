"""The limit on open files, raised to what the allowed connections need."""

import logging
import resource

__all__ = ["raise_file_limit"]

log = logging.getLogger("longtail.server")
OTHER_FILES = 256  # open files that are not connections


def raise_file_limit(connections: int) -> None:
    """Raise the limit on open files, for this process and its children, as far as the system allows.

    Logs a warning if the new limit is still too low.

    Args:
        connections: how many may be open at the same time.

    """
    needed = connections + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= needed:
        return
    limit = needed if hard == unlimited else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if limit < needed:
        log.warning(
            "%d connections need %d open files, but this process may have only %d (ulimit -n); "
            "connections beyond that wait to be accepted",
            connections,
            needed,
            limit,
        )
