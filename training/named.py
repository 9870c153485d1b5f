"""Names in a sentence: the first five, the others counted."""

from collections.abc import Iterable

__all__ = ["first_few"]

MAX_NAMED = 5


def first_few(names: Iterable[str]) -> str:
    """Return the first five names, and how many more there are.

    >>> first_few("abc"), first_few("abcdefg"), first_few("")
    ('a, b, c', 'a, b, c, d, e and 2 more', 'nothing')
    """
    every = list(names)
    more = f" and {len(every) - MAX_NAMED:,} more" if len(every) > MAX_NAMED else ""
    return (", ".join(every[:MAX_NAMED]) or "nothing") + more
