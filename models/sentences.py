"""Lists in messages: the first items, and the number of the others."""

from collections.abc import Iterable

__all__ = ["first_few"]

MAX_ITEMS = 5


def first_few(items: Iterable[str], max_items: int = MAX_ITEMS, *, separator: str = ", ", total: int = 0) -> str:
    r"""Return the first items of a list and how many more there are.

    Args:
        items: the items, or only the first of them.
        max_items: the number of items to show.
        separator: stands between two items.
        total: the number of all items, if `items` does not have them all.

    >>> first_few("abc"), first_few("abcdefg"), first_few("")
    ('a, b, c', 'a, b, c, d, e and 2 more', 'nothing')
    >>> first_few(["no name", "no date"], 1, separator="; ")
    'no name; and 1 more'
    >>> first_few(["line 1", "line 2"], separator="\n", total=1500)
    'line 1\nline 2\nand 1,498 more'

    """
    known = list(items)
    shown = known[:max_items]
    more = max(total, len(known)) - len(shown)
    if not more:
        return separator.join(shown) or "nothing"
    count = f"and {more:,} more"
    return f"{separator.join(shown)} {count}" if separator == ", " else separator.join([*shown, count])
