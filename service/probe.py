"""`python -m service.probe [URL]`: check that the service answers 200; for health checks in containers without curl.

It imports little more than the standard library, so that a check every few seconds is cheap. It ignores proxy
variables, because the service runs on the same machine.
"""

import argparse
import http.client
import os
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

from service.kubernetes import without_kubernetes

__all__ = ["command_line", "default_url", "main", "problem"]

ANY_ADDRESS = {"", "0.0.0.0", "::"}  # noqa: S104  the probe asks on loopback instead
EPILOG = "Exit code 0 if the answer is 200, else 1. The default URL is /readyz at LONGTAIL_HOST and LONGTAIL_PORT."


def command_line() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(prog="python -m service.probe", description=__doc__, epilog=EPILOG)
    parser.add_argument("url", nargs="?", default=default_url(os.environ), metavar="URL", help="(default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds (default: %(default)s)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Send one request; return the exit code: 0 if the answer is 200, else 1."""
    options = command_line().parse_args(arguments)
    reason = problem(options.url, options.timeout)
    if reason is not None:
        print(f"{options.url}: {reason}", file=sys.stderr)
    return 0 if reason is None else 1


def default_url(environment: Mapping[str, str]) -> str:
    """Return the URL of /readyz at the address that the service's variables name.

    >>> default_url({"LONGTAIL_HOST": "0.0.0.0", "LONGTAIL_PORT": "9000"})
    'http://127.0.0.1:9000/readyz'
    >>> default_url({"LONGTAIL_HOST": "::1"})
    'http://[::1]:8000/readyz'
    >>> default_url({"LONGTAIL_PORT": "tcp://10.96.0.7:80"})  # from Kubernetes
    'http://127.0.0.1:8000/readyz'
    """
    environment = without_kubernetes(environment)
    host = environment.get("LONGTAIL_HOST", "")
    host = "127.0.0.1" if host in ANY_ADDRESS else f"[{host}]" if ":" in host else host
    return f"http://{host}:{environment.get('LONGTAIL_PORT', '8000')}/readyz"


def problem(url: str, timeout: float) -> str | None:
    """Return why the service is not healthy; None if it answers 200 within `timeout` seconds."""
    try:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            return "not a URL that can be probed; give one such as http://127.0.0.1:8000/readyz"
        connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout)
        try:
            connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
            answer = connection.getresponse()
            body = answer.read(300).decode(errors="replace")
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"no answer: {error or type(error).__name__}"
    return None if answer.status == http.client.OK else f"{answer.status} {body}"


if __name__ == "__main__":
    sys.exit(main())
