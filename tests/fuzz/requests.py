"""Nearly valid requests: one part of a request changes, and most of the time the parts that depend on it still fit.

Otherwise nearly all requests would fail at the first check, with broken JSON, a wrong length in a header, or a
compressed body that cannot be unpacked.
"""

import gzip
import json
import zlib
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any

from service.openinference.requests import JSON_LENGTH_HEADER
from tests.fuzz.mutate import Rng, mutated

__all__ = ["mutated_request"]

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 1.5, -0.0, 1e308, 5e-324, float("nan"), float("inf"), 2**31, 2**53, 2**63 - 1,
    -(2**63), 2**64, 10**30, "", "a", "balanced", "uniform", "a" * 3000, "é\u0000\u202e", "\ud800", "1e5", "-inf",
    "overall >= 0.5", "overall >= nan", "many >= 65%", [], {}, [[]], [[[[[[[[[[]]]]]]]]]], [None], [0] * 3000,
    {"a": 1}, [1, 1, 1], [2**32, 2**32],
)  # fmt: skip
PACKING = {b"gzip": (partial(gzip.compress, mtime=0), gzip.decompress), b"deflate": (zlib.compress, zlib.decompress)}


def mutated_request(rng: Rng, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Return one of the requests with changes to its body, to a header, to its address, or anywhere."""
    if rng.random() < 0.1:
        return mutated(rng, seeds, words)
    head, _, body = rng.choice(seeds).partition(b"\n\n")
    lines = head.split(b"\n")
    where = rng.random() if body else 0
    if where < 0.15:
        path, _, query = lines[0].partition(b"?")
        keep = query and rng.random() < 0.8
        lines[0] = path + b"?" + mutated(rng, [query], words) if keep else mutated(rng, [lines[0]], words)
    elif where < 0.35 and len(lines) > 1:
        at = rng.randrange(1, len(lines))
        name, _, value = lines[at].partition(b": ")
        lines[at] = (
            name + b": " + (mutated(rng, [value], words) if rng.random() < 0.6 else value + b"; " + rng.choice(words))
        )
    else:
        lines, body = _with_another_body(rng, lines, body, words)
    return b"\n".join(lines) + b"\n\n" + body


def _with_another_body(rng: Rng, lines: list[bytes], body: bytes, words: Sequence[bytes]) -> tuple[list[bytes], bytes]:
    headers = dict(line.partition(b": ")[::2] for line in lines[1:])
    packing = PACKING.get(headers.get(b"Content-Encoding", b""))
    if packing and (len(body) > 2000 or rng.random() < 0.1):  # packing a bomb is slow
        return lines, mutated(rng, [body], words)
    body = packing[1](body) if packing else body
    length = int(headers.get(JSON_LENGTH_HEADER.encode(), len(body)))
    text = body[:length]
    rest = body[length:]
    if text[:1] in (b"{", b"[") and rng.random() < 0.7:
        text = _mutated_json(rng, text)
    else:
        text = mutated(rng, [text], words) if text and rng.random() < 0.8 else text
        rest = mutated(rng, [rest], words) if rest else rest
    if length and JSON_LENGTH_HEADER.encode() in headers and rng.random() < 0.95:
        lines = [
            line if not line.startswith(JSON_LENGTH_HEADER.encode()) else f"{JSON_LENGTH_HEADER}: {len(text)}".encode()
            for line in lines
        ]
    body = text + rest
    return lines, packing[0](body) if packing else body


def _mutated_json(rng: Rng, text: bytes) -> bytes:
    """Return a JSON text in which some values are replaced, missing, or copied elsewhere."""
    tree = [json.loads(text)]
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = [(tree, 0), *_places(tree[0])]
        holder, key = rng.choice(places)
        other, other_key = rng.choice(places)
        action = rng.random()
        if action < 0.6:
            holder[key] = deepcopy(rng.choice(VALUES))
        elif action < 0.75 and holder is not tree:
            del holder[key]
        elif action < 0.85 and isinstance(holder, dict):
            holder[rng.choice(("", "a", "id", "parameters", "timeout", "alpha", "shape"))] = holder[key]
        else:
            holder[key] = deepcopy(other[other_key])
    return json.dumps(tree[0]).encode()


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Return every place in a tree, as the object or list that holds it and the key or index."""
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    places = [(tree, key) for key in keys]
    return places + [place for key in keys for place in _places(tree[key])]
