"""API keys: make one, read the file that lists them, and find a request's key in the list.

A key is `lt_` and 43 characters that encode 256 random bits. Only its SHA-256 is stored, so a reader of the file cannot
call the server. Plain SHA-256 is enough, because 256 random bits cannot be guessed; a slow password hash would only
slow down every request. Strings of any other shape are never looked up, so the hash of a password is useless in the
file.

Each line is one key, `NAME:SCOPES:sha256=HEX`. A file may also have blank lines and comment lines that begin with #.

`python -m service.keys NAME --scopes predict,tune` makes a key. It prints the key to the terminal (stderr) and the line
to stdout, so `>> FILE` adds only the line. `--check FILE` prints the names and scopes in a file.
"""

import argparse
import hashlib
import hmac
import re
import secrets
import sys
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["SCOPES", "ApiKey", "KeysError", "command_line", "find_key", "main", "new_key", "read_key_file", "read_keys"]

SCOPES = ("predict", "tune", "admin")
MAX_KEYS = 1000  # every request is compared with each of them
PREFIX = "lt_"
BYTE_ORDER_MARK = "\ufeff"  # some editors write it at the beginning of a file
KEY_CHARACTERS = len(PREFIX) + 43
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HASH = re.compile(r"sha256=([0-9a-fA-F]{64})")


class KeysError(ValueError):
    """Keys that cannot be used; the message names the line, and never repeats its content."""


@dataclass(frozen=True)
class ApiKey:
    """What is stored of an API key.

    Attributes:
        name: the name of its user.
        scopes: what it gives access to, a subset of SCOPES.
        digest: its SHA-256, 32 bytes.

    """

    name: str
    scopes: frozenset[str]
    digest: bytes = field(repr=False)


def new_key(name: str, scopes: Iterable[str]) -> tuple[str, str]:
    """Return a new key and the line to store.

    Raises:
        KeysError: the name or a scope is not valid.

    """
    key = PREFIX + secrets.token_urlsafe(32)
    line = f"{name}:{','.join(scopes)}:sha256={hashlib.sha256(key.encode()).hexdigest()}"
    try:
        _read_line(line, set())
    except KeysError as error:
        raise KeysError(f"a key {error}") from None
    return key, line


def read_keys(text: str, where: str = "", known: Iterable[ApiKey] = ()) -> tuple[ApiKey, ...]:
    """Return the keys in the lines of a text, in order.

    Args:
        text: one key a line, with blank lines and comments; a byte order mark before them is ignored.
        where: the beginning of error messages, such as "FILE: ".
        known: keys from other sources, which may not be repeated.

    Raises:
        KeysError: a line is not a key, repeats a name or a key, or is beyond the limit.

    >>> read_keys("web:predict,tune:sha256=" + "0" * 64)[0].name
    'web'

    """
    keys: list[ApiKey] = []
    taken: set[str | bytes] = {part for key in known for part in (key.name, key.digest)}
    for number, line in enumerate(map(str.strip, text.removeprefix(BYTE_ORDER_MARK).split("\n")), start=1):
        if not line or line.startswith("#"):
            continue
        try:
            key = _read_line(line, taken)
        except KeysError as error:
            raise KeysError(f"{where}line {number} {error}") from None
        if len(keys) == MAX_KEYS:
            raise KeysError(f"{where}line {number} is one key too many; the limit is {MAX_KEYS}")
        keys.append(key)
        taken |= {key.name, key.digest}
    return tuple(keys)


def read_key_file(path: Path, known: Iterable[ApiKey] = ()) -> tuple[ApiKey, ...]:
    """Return the keys in a file.

    Raises:
        KeysError: the file cannot be read, or for the reasons of `read_keys`.

    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise KeysError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise KeysError(f"{path} is not UTF-8 text; save it as UTF-8") from error
    return read_keys(text, f"{path}: ", known)


def find_key(keys: Iterable[ApiKey], given: bytes) -> ApiKey | None:
    """Return the key that matches the given one, or None, in a time that does not depend on how close it is."""
    if len(given) != KEY_CHARACTERS or not given.startswith(PREFIX.encode()):
        return None
    digest = hashlib.sha256(given).digest()
    found = None
    for key in keys:  # all of them, to take the same time for each
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


def _read_line(line: str, taken: Set[str | bytes]) -> ApiKey:
    """Return a line's key. An error never repeats the line, which may be a secret key put there by mistake."""
    parts = line.split(":")
    if len(parts) != 3:
        hint = " (a secret key does not belong in the file)" if line.startswith(PREFIX) else ""
        raise KeysError(f"is not NAME:SCOPES:sha256=HEX{hint}; `python -m service.keys NAME` prints such a line")
    name, scopes, digest = (part.strip() for part in parts)
    if not _NAME.fullmatch(name) or name.startswith(PREFIX):  # a name is logged, so it must not be a key
        raise KeysError(f"needs a name of 1 to 64 letters, digits, '.', '_', '-' that does not begin with {PREFIX}")
    listed = frozenset(scope.strip() for scope in scopes.split(","))
    if not listed <= set(SCOPES):
        raise KeysError(f"needs one or more of the scopes {', '.join(SCOPES)}, with commas between them")
    found = _HASH.fullmatch(digest)
    if not found:
        raise KeysError("must end with sha256= and 64 hexadecimal digits, the SHA-256 of the key")
    key = ApiKey(name, listed, bytes.fromhex(found[1]))
    if key.name in taken:
        raise KeysError("has the name of another key; give each key its own name, so that it can be removed alone")
    if key.digest in taken:
        raise KeysError("repeats a key that has another name; make a new one")
    return key


def command_line() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(
        prog="python -m service.keys",
        description="Make an API key. The command prints the key once, to the terminal, and a line with its hash to "
        "stdout. Add the line to the file that --api-keys-file names; a running server reads it within two seconds.",
        epilog="example: python -m service.keys web --scopes predict,tune >> api-keys.txt",
    )
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="the name of the key's user: letters, digits, '.', '_', '-'"
    )
    parser.add_argument(
        "--scopes",
        default="predict",
        help="what the key gives access to, separated by commas: predict (classify, read, send feedback), tune (choose "
        "alpha, set operating points), admin (load and unload models); no scope includes another (default: predict)",
    )
    parser.add_argument("--check", type=Path, metavar="FILE", help="print the names and scopes in a file, and exit")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a key or check a file, and return the exit code: 2 if the arguments or the file are not valid."""
    parser = command_line()
    options = parser.parse_args(arguments)
    if (options.name is None) == (options.check is None):
        parser.error("give either NAME, to make a key, or --check FILE")
    try:
        return _check(options.check) if options.check else _make(options.name, options.scopes.split(","))
    except KeysError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _make(name: str, scopes: Sequence[str]) -> int:
    key, line = new_key(name, [scope.strip() for scope in scopes])
    print(
        f"the key of {name}, shown only now:\n\n    {key}\n\nits line for the key file:\n", file=sys.stderr, flush=True
    )
    print(line)
    return 0


def _check(path: Path) -> int:
    keys = read_key_file(path)
    for key in keys:
        print(f"{key.name}: {', '.join(scope for scope in SCOPES if scope in key.scopes)}")
    if not keys:
        raise KeysError(f"{path} has no key")
    return 0


if __name__ == "__main__":
    sys.exit(main())
