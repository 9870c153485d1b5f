"""Whose page sends a request: a browser sends forms for any page, in its user's name, to any server it can reach.

A browser says so in headers no page can set. Who is no browser sends none of them, and is not meant.
"""

from urllib.parse import urlsplit

from fastapi import Request

from service.errors import CrossSiteError

__all__ = ["refuse_other_sites"]

_FROM_A_BROWSER = frozenset({b"origin", b"sec-fetch-site"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def refuse_other_sites(request: Request) -> None:
    """Let nothing change that a page of another origin asks for; called for every request.

    Raises:
        CrossSiteError: a browser sends it for a page that is not this server's.

    """
    if request.method in SAFE_METHODS or not any(name in _FROM_A_BROWSER for name, _ in request.scope["headers"]):
        return
    headers = request.headers
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    if site in {"same-origin", "none"}:  # also behind a proxy that gives the server another name
        return
    if site == "cross-site" or (origin is not None and _host(origin) not in _names(request)):
        raise CrossSiteError(
            f"a page of {(origin or 'another site')[:128]} may not {request.method} here; send it from this server's "
            "own pages, or without a browser"
        )


def _host(origin: str) -> str:
    """Return host and port; "" for `null`, which is nobody's."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _names(request: Request) -> set[str]:
    """Return what this server is called, by the browser or by the proxy before it; a port that goes without saying."""
    names = {request.headers.get(name, "").lower() for name in ("host", "x-forwarded-host")} - {""}
    return names | {name.removesuffix(port) for name in names for port in (":80", ":443")}
