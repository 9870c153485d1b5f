"""Markdown as this project writes it: tables, generated blocks, headings and their anchors, links."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["Link", "anchors", "code", "links", "replace_block", "table"]

_FENCE = re.compile(r"^(\s*)(`{3,}|~{3,}).*?^\s*\2\s*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)(?:.+?)\1")
_LINK = re.compile(
    r"\[((?:[^\[\]]|\[[^\]]*\](?:\([^)]*\))?)*)\]\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)(?:\s+\"[^\"]*\")?\)"
)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_HTML_ANCHOR = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")


class Link(NamedTuple):
    """A link or picture of a page.

    Args:
        line: the line it stands in, counted from 1.
        text: what is shown, with its brackets and, for a picture, without its exclamation mark.
        target: path and fragment, as written.
        start: where the link begins in the page.
        end: where it ends.

    """

    line: int
    text: str
    target: str
    start: int
    end: int


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""Return a Markdown table; `|` and line breaks in a cell are escaped.

    >>> print(table(["a", "b"], [["1", "x | y"]]))
    | a | b |
    |---|---|
    | 1 | x \| y |
    """
    lines = [_row(header), "|" + "---|" * len(header), *map(_row, rows)]
    return "\n".join(lines)


def code(text: object) -> str:
    """Return a text in code font; nothing for an empty one."""
    return f"`{text}`" if str(text) else ""


def replace_block(page: str, name: str, content: str) -> str:
    """Return a page with the content between the markers of a generated block replaced.

    Raises:
        ValueError: the page does not have the markers, each once.

    >>> print(replace_block("<!-- generated: x -->\\nold\\n<!-- end: x -->", "x", "new"))
    <!-- generated: x -->
    <BLANKLINE>
    new
    <BLANKLINE>
    <!-- end: x -->

    """
    start = f"<!-- generated: {name} -->"
    end = f"<!-- end: {name} -->"
    if page.count(start) != 1 or page.count(end) != 1:
        raise ValueError(f"a page with the block {name!r} needs {start!r} and {end!r}, each once")
    before, _, rest = page.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}\n\n{content}\n\n{end}{after}"


def anchors(page: str) -> set[str]:
    """Return the anchors that GitHub gives the page's headings.

    >>> sorted(anchors("# One thing\\n## `a_b` & c\\n## `a_b` & c"))
    ['a_b--c', 'a_b--c-1', 'one-thing']
    """
    found: set[str] = set(_HTML_ANCHOR.findall(page))
    counts: dict[str, int] = {}
    for heading in _HEADING.findall(_blank_fences(page)):
        slug = _slug(heading)
        number = counts.get(slug, 0)
        counts[slug] = number + 1
        found.add(f"{slug}-{number}" if number else slug)
    return found


def links(page: str) -> Iterator[Link]:
    """Yield the links and pictures of a page, those in code excepted."""
    text = _CODE.sub(_blank, _blank_fences(page))
    for found in _LINK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Link(line, page[slice(*found.span(1))], found[2], found.start(), found.end())


def _row(cells: Sequence[str]) -> str:
    escaped = [" ".join(cell.split()).replace("|", "\\|") for cell in cells]
    return "| " + " | ".join(escaped) + " |"


def _blank_fences(page: str) -> str:
    """The page with blanks for its code blocks, so that lines and positions stay."""
    return _FENCE.sub(_blank, page)


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])


def _slug(heading: str) -> str:
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.replace("`", "")).lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
