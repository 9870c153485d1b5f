"""API keys: how one is made, what is kept of it, and how a call's key is found among them.

A key is `lt_` and 43 characters that hold 256 random bits. Only its SHA-256 is kept, so who reads the file cannot call
the server. Plain SHA-256 is right here, and a slow password hash would be wrong: there is nothing to guess in 256
random bits, and a key is checked on every request. A key of any other shape is never looked up, so that nobody can put
the hash of a password into the file.

One line is one key: `NAME:SCOPES:sha256=HEX`; in a file there may be blank lines, and lines that begin with #.

`python -m service.keys NAME --scopes predict,tune` makes one: the key goes to the terminal (stderr), its line to
stdout, so `>> FILE` keeps the line and nothing else. `--check FILE` says which names and scopes a file holds.
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

__all__ = ["SCOPES", "Key", "KeysError", "command_line", "find_key", "main", "new_key", "read_key_file", "read_keys"]

SCOPES = ("predict", "tune", "admin")
MAX_KEYS = 1000  # each is compared with on every request
PREFIX = "lt_"
KEY_CHARACTERS = len(PREFIX) + 43
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HASH = re.compile(r"sha256=([0-9a-fA-F]{64})")


class KeysError(ValueError):
    """Keys that cannot be used; the sentence names the line, and holds nothing of what stands there."""


@dataclass(frozen=True)
class Key:
    """What is kept of a key.

    Attributes:
        name: whose it is.
        scopes: what it opens, some of SCOPES.
        digest: (32 bytes) its SHA-256.

    """

    name: str
    scopes: frozenset[str]
    digest: bytes = field(repr=False)


def new_key(name: str, scopes: Iterable[str]) -> tuple[str, str]:
    """Return a new key, and the line that is kept of it.

    Raises:
        KeysError: a name or a scope that no line may have.

    """
    key = PREFIX + secrets.token_urlsafe(32)
    line = f"{name}:{','.join(scopes)}:sha256={hashlib.sha256(key.encode()).hexdigest()}"
    try:
        _read_line(line, set())
    except KeysError as error:
        raise KeysError(f"a key {error}") from None
    return key, line


def read_keys(text: str, where: str = "", known: Iterable[Key] = ()) -> tuple[Key, ...]:
    """Return the keys of some lines, in their order.

    Args:
        text: the lines.
        where: what a sentence about them begins with, such as "FILE: ".
        known: keys from elsewhere; none may come twice.

    Raises:
        KeysError: a line that is no key, a name or a key that is there already, or too many.

    >>> read_keys("web:predict,tune:sha256=" + "0" * 64)[0].name
    'web'

    """
    keys: list[Key] = []
    taken: set[str | bytes] = {part for key in known for part in (key.name, key.digest)}
    for number, line in enumerate(map(str.strip, text.split("\n")), start=1):
        if not line or line.startswith("#"):
            continue
        try:
            key = _read_line(line, taken)
        except KeysError as error:
            raise KeysError(f"{where}line {number} {error}") from None
        if len(keys) == MAX_KEYS:
            raise KeysError(f"{where}line {number} is one too many: {MAX_KEYS} keys are compared on every request")
        keys.append(key)
        taken |= {key.name, key.digest}
    return tuple(keys)


def read_key_file(path: Path, known: Iterable[Key] = ()) -> tuple[Key, ...]:
    """Return a file's keys.

    Raises:
        KeysError: it cannot be read; or see `read_keys`.

    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise KeysError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise KeysError(f"{path} is not UTF-8 text") from error
    return read_keys(text, f"{path}: ", known)


def find_key(keys: Iterable[Key], given: bytes) -> Key | None:
    """Return which of the keys was given, or None; how long it takes says nothing of how near a wrong one is."""
    if len(given) != KEY_CHARACTERS or not given.startswith(PREFIX.encode()):
        return None
    digest = hashlib.sha256(given).digest()
    found = None
    for key in keys:  # to the end, whichever it is
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


def _read_line(line: str, taken: Set[str | bytes]) -> Key:
    """Return a line's key; an error repeats nothing of the line, as somebody may have put a key itself there."""
    parts = line.split(":")
    if len(parts) != 3:
        a_key = " (a key itself is its user's, and stands nowhere)" if line.startswith(PREFIX) else ""
        raise KeysError(f"is not NAME:SCOPES:sha256=HEX{a_key}; `python -m service.keys NAME` prints a line that is")
    name, scopes, kept = (part.strip() for part in parts)
    if not _NAME.fullmatch(name) or name.startswith(PREFIX):  # names are logged
        raise KeysError(f"needs a name of 1 to 64 letters, digits, '.', '_', '-' that does not begin with {PREFIX}")
    asked = [scope.strip() for scope in scopes.split(",")]
    if not set(asked) <= set(SCOPES):
        raise KeysError(f"needs scopes, with commas between them, of {', '.join(SCOPES)}")
    found = _HASH.fullmatch(kept)
    if not found:
        raise KeysError("needs sha256= and 64 hexadecimal digits at its end, the SHA-256 of the key")
    key = Key(name, frozenset(asked), bytes.fromhex(found[1]))
    if key.name in taken:
        raise KeysError("has the name of another key; give each its own, so that one of them can be taken away")
    if key.digest in taken:
        raise KeysError("is a key that is there already under another name; make a new one")
    return key


def command_line() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(
        prog="python -m service.keys",
        description="Make an API key. The key is shown once, on the terminal; its line goes to stdout and holds only a "
        "hash. Keep the line in the file that --api-keys-file names; a running server sees it within a second or two.",
        epilog="example: python -m service.keys web --scopes predict,tune >> api-keys.txt",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="whose key it is: letters, digits, '.', '_', '-'")
    parser.add_argument(
        "--scopes",
        default="predict",
        help="what it opens, with commas: predict (classify, read, give feedback), tune (choose alpha, set operating "
        "points), admin (load and unload models); none holds another (default: predict)",
    )
    parser.add_argument("--check", type=Path, metavar="FILE", help="say which names and scopes a file holds, and exit")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a key, or say what a file holds; return the exit code: 2 when the user has to mend something."""
    parser = command_line()
    asked = parser.parse_args(arguments)
    if (asked.name is None) == (asked.check is None):
        parser.error("give the NAME of a key to make, or --check FILE")
    try:
        return _check(asked.check) if asked.check else _make(asked.name, asked.scopes.split(","))
    except KeysError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _make(name: str, scopes: Sequence[str]) -> int:
    key, line = new_key(name, [scope.strip() for scope in scopes])
    print(f"the key of {name}, shown this once:\n\n    {key}\n\nits line, for the file:\n", file=sys.stderr, flush=True)
    print(line)
    return 0


def _check(path: Path) -> int:
    keys = read_key_file(path)
    for key in keys:
        print(f"{key.name}: {', '.join(scope for scope in SCOPES if scope in key.scopes)}")
    if not keys:
        raise KeysError(f"{path} holds no key")
    return 0


if __name__ == "__main__":
    sys.exit(main())
