"""Who may do what: which scope a call needs, and whether the key that comes with it has it.

What a call needs is decided by its method and the beginning of its path, before anything else of it is read. The
beginning, because the router's patterns let one line feed pass at the end of a path.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Literal

from service.access.keyring import KeyRing
from service.errors import AdminNeedsKeyError, ForbiddenError, UnauthenticatedError
from service.keys import KeysError, read_keys
from service.settings import Settings, SettingsError

__all__ = ["Access", "RequiredScope", "required_scope"]

RequiredScope = Literal["open", "any", "predict", "tune", "admin"]  # `open` needs no key, `any` one of whatever scope
Headers = Iterable[tuple[bytes, bytes]]
_OPEN = frozenset({"/", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"})
_OPEN_FOLDERS = ("/playground/", "/docs/assets/")
_PROXIES = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_TUNED = frozenset({"alpha", "operating-points"})  # parts of a model that others than reading calls change


def required_scope(method: str, path: str) -> RequiredScope:
    """Return what a call needs; a path nobody knows needs `predict`.

    >>> required_scope("POST", "/v1/models/digits/classify")
    'predict'
    >>> required_scope("PUT", "/v1/models/digits/operating-points/night")
    'tune'
    """
    if path.startswith("/v1/models/"):
        if method in _READING:
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
    """Lets a call pass or refuses it; for REST and gRPC alike.

    Args:
        settings: the keys, and the host, which decides where there are none.

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
        """Return where the call may pass.

        Args:
            need: what it needs.
            headers: its headers, or gRPC's metadata; names in lower case.

        Raises:
            UnauthenticatedError: it brings no key that is in force; the sentence is the same whatever is wrong.
            ForbiddenError: its key lacks the scope.
            AdminNeedsKeyError: there are no keys, and the server is not bound to loopback or is called by another name,
                as by way of a proxy, or by a page whose name somebody made point here.

        """
        if need == "open":
            return
        if self._keys is None:
            if need == "admin" and not (self._local and _is_for_loopback(headers)):
                raise AdminNeedsKeyError(
                    "models are loaded and unloaded with an API key of the scope admin only: configure one "
                    "(--api-keys-file), or bind the server to loopback (--host 127.0.0.1) and call it by that name"
                )
            return
        given = _given(headers)
        key = None if given is None else self._keys.find(given)
        if key is None:
            raise UnauthenticatedError(
                "this call needs an API key that this server knows: send one, as `Authorization: Bearer KEY` or as "
                "`X-API-Key: KEY`"
            )
        if need != "any" and need not in key.scopes:
            raise ForbiddenError(f"this call needs an API key with the scope {need}, which this one has not")


def _given(headers: Headers) -> bytes | None:
    """Return the one key that headers hold; None where they hold none, or two that differ."""
    found: set[bytes] = set()
    for name, value in headers:
        if name == b"x-api-key":
            found.add(value.strip())
        elif name == b"authorization":
            scheme, _, key = value.partition(b" ")
            if scheme.lower() == b"bearer":  # any other is somebody else's, a proxy's say
                found.add(key.strip())
    return found.pop() if len(found) == 1 else None


def _is_for_loopback(headers: Headers) -> bool:
    """Say whether a call names a loopback address as its host, and no proxy says that it passed it on.

    gRPC's calls name none.
    """
    given = list(headers)
    if any(name in _PROXIES for name, _ in given):
        return False
    for name, value in given:
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
