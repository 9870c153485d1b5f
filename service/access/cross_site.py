"""Protection against cross-site requests: a browser sends forms of any page to any server that it can reach.

Browsers name the page's origin in headers that the page cannot set. Other clients send none of these headers, and the
check does not apply to them.
"""

from urllib.parse import urlsplit

from fastapi import Request

from service.errors import CrossSiteError

__all__ = ["refuse_other_sites"]

_BROWSER_HEADERS = frozenset({b"origin", b"sec-fetch-site"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def refuse_other_sites(request: Request) -> None:
    """Refuse a request that may change something if a page of another origin sends it; called for every request.

    Raises:
        CrossSiteError: a browser sends the request for a page that is not this server's.

    """
    if request.method in SAFE_METHODS or not any(name in _BROWSER_HEADERS for name, _ in request.scope["headers"]):
        return
    headers = request.headers
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    if site in {"same-origin", "none"}:  # holds even if a proxy gives the server another name
        return
    if site == "cross-site" or (origin is not None and _host_of(origin) not in _server_names(request)):
        raise CrossSiteError(
            f"a page of {(origin or 'another site')[:128]} may not {request.method} here; send the request from this "
            "server's own pages, or without a browser"
        )


def _host_of(origin: str) -> str:
    """Return an origin's host and port; "" for the opaque origin `null`."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _server_names(request: Request) -> set[str]:
    """Return the server's host names as the browser or a proxy gives them, with and without the default port."""
    names = {request.headers.get(name, "").lower() for name in ("host", "x-forwarded-host")} - {""}
    return names | {name.removesuffix(port) for name in names for port in (":80", ":443")}
