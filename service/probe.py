"""`python -m service.probe [URL]`: does the service answer 200? For a container's health check, where there is no curl.

It loads nothing but the standard library, so that asking every few seconds costs little, and takes no proxy from the
environment: what it asks is next to it.
"""

import argparse
import http.client
import os
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

__all__ = ["command_line", "default_url", "main", "problem"]

EVERYWHERE = {"", "0.0.0.0", "::"}  # noqa: S104  asked on loopback
EPILOG = "Exits with 0 on 200, else with 1 and a sentence. Without URL: /readyz at LONGTAIL_HOST and LONGTAIL_PORT."


def command_line() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(prog="python -m service.probe", description=__doc__, epilog=EPILOG)
    parser.add_argument("url", nargs="?", default=default_url(os.environ), metavar="URL", help="(default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds (default: %(default)s)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Ask once; return the exit code: 0 if the answer is 200, else 1."""
    asked = command_line().parse_args(arguments)
    said = problem(asked.url, asked.timeout)
    if said is not None:
        print(f"{asked.url}: {said}", file=sys.stderr)
    return 0 if said is None else 1


def default_url(environment: Mapping[str, str]) -> str:
    """Return the address of /readyz, as the service's own variables have it.

    >>> default_url({"LONGTAIL_HOST": "0.0.0.0", "LONGTAIL_PORT": "9000"})
    'http://127.0.0.1:9000/readyz'
    >>> default_url({"LONGTAIL_HOST": "::1"})
    'http://[::1]:8000/readyz'
    """
    host = environment.get("LONGTAIL_HOST", "")
    host = "127.0.0.1" if host in EVERYWHERE else f"[{host}]" if ":" in host else host
    return f"http://{host}:{environment.get('LONGTAIL_PORT', '8000')}/readyz"


def problem(url: str, timeout: float) -> str | None:
    """Return why the answer is not 200 within so many seconds, None where it is."""
    try:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            return "not an address that can be asked; something like http://127.0.0.1:8000/readyz works"
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
