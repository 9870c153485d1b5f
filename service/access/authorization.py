"""Authorization: which scope a request needs, and whether its API key has that scope.

The request's method and the beginning of its path decide which scope it needs, before the body is read. The rule looks
at the beginning of the path only, because the router's patterns accept a line feed at the end.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Literal

from service.access.keyring import KeyRing
from service.errors import AdminNeedsKeyError, ForbiddenError, UnauthenticatedError
from service.keys import KeysError, read_keys
from service.settings import Settings, SettingsError

__all__ = ["Access", "RequiredScope", "required_scope"]

RequiredScope = Literal["open", "any", "predict", "tune", "admin"]  # `open` needs no key, `any` a key of any scope
Headers = Iterable[tuple[bytes, bytes]]
_OPEN = frozenset({"/", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/docs", "/docs/", "/openapi.json"})
_OPEN_FOLDERS = ("/playground/", "/docs/assets/")
_PROXY_HEADERS = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"})
_READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_TUNED = frozenset({"alpha", "operating-points"})  # parts of a model's path whose changes need the scope `tune`


def required_scope(method: str, path: str) -> RequiredScope:
    """Return the scope that a request needs; an unknown path needs `predict`.

    >>> required_scope("POST", "/v1/models/digits/classify")
    'predict'
    >>> required_scope("PUT", "/v1/models/digits/operating-points/night")
    'tune'
    """
    if path.startswith("/v1/models/"):
        if method in _READ_METHODS:
            return "predict"
        part = path.split("/", 5)[4:5]
        return "tune" if part and part[0] in _TUNED else "predict"
    if path in _OPEN or path.startswith(_OPEN_FOLDERS):
        return "open"
    if path.startswith("/v2/repository/models/"):
        return "admin"
    if path.startswith("/v1/jobs/"):
        return "tune"
    return "any" if path == "/metrics" else "predict"


class Access:
    """Decides whether a request may pass, over REST and gRPC.

    Args:
        settings: the API keys, and the host, which decides about admin requests if there are no keys.

    Raises:
        SettingsError: the key file cannot be used.

    """

    def __init__(self, settings: Settings) -> None:
        self._local = _is_loopback(settings.host)
        self._keys: KeyRing | None = None
        if settings.api_keys is not None or settings.api_keys_file is not None:
            own = read_keys((settings.api_keys or "").replace(";", "\n"))
            try:
                self._keys = KeyRing(own, settings.api_keys_file)
            except KeysError as error:
                raise SettingsError(f"LONGTAIL_API_KEYS_FILE (--api-keys-file) is refused: {error}") from error

    def check(self, need: RequiredScope, headers: Headers) -> None:
        """Check that a request may pass.

        Args:
            need: the scope that it needs.
            headers: its HTTP headers or gRPC metadata, with names in lower case.

        Raises:
            UnauthenticatedError: it has no key that is in force; the message is the same for every reason.
            ForbiddenError: its key lacks the scope.
            AdminNeedsKeyError: the server has no keys, and is not bound to loopback or is called by another host name,
                as behind a proxy or after DNS rebinding.

        """
        if need == "open":
            return
        if self._keys is None:
            if need == "admin" and not (self._local and _is_for_loopback(headers)):
                raise AdminNeedsKeyError(
                    "loading and unloading models needs an API key with the scope admin: configure one "
                    "(--api-keys-file), or bind the server to loopback (--host 127.0.0.1) and call it by that name"
                )
            return
        given = _key_in(headers)
        key = None if given is None else self._keys.find(given)
        if key is None:
            raise UnauthenticatedError(
                "this request needs an API key that this server knows: send it as `Authorization: Bearer KEY` or "
                "`X-API-Key: KEY`"
            )
        if need != "any" and need not in key.scopes:
            raise ForbiddenError(f"this request needs an API key with the scope {need}; this key does not have it")


def _key_in(headers: Headers) -> bytes | None:
    """Return the key in the headers; None if there is none, or there are two different ones."""
    found: set[bytes] = set()
    for name, value in headers:
        if name == b"x-api-key":
            found.add(value.strip())
        elif name == b"authorization":
            scheme, _, key = value.partition(b" ")
            if scheme.lower() == b"bearer":  # another scheme is meant for a proxy
                found.add(key.strip())
    return found.pop() if len(found) == 1 else None


def _is_for_loopback(headers: Headers) -> bool:
    """Return whether the request names a loopback address as its host and no proxy has forwarded it.

    gRPC requests name no host.
    """
    pairs = list(headers)
    if any(name in _PROXY_HEADERS for name, _ in pairs):
        return False
    for name, value in pairs:
        if name == b"host":
            host = value.decode("latin-1").strip()
            host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
            return _is_loopback(host)
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
