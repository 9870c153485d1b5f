"""`python -m docs.tools.links`: check every link of every page, anchors included, as GitHub resolves them.

Links to other hosts are not followed. Exits with 1 if a link is broken, and names page, line and target.
"""

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from docs.tools.markdown import anchors, links

__all__ = ["ROOT", "broken_links", "main", "pages"]

ROOT = Path(__file__).resolve().parents[2]
_NOT_OURS = {"runs", "site", "build", "node_modules", "state", "my-models"}


def pages(root: Path = ROOT) -> list[Path]:
    """Return the Markdown files of a checkout, without those of ignored folders."""
    found = root.rglob("*.md")
    return sorted(path for path in found if not _is_ignored(path.relative_to(root)))


def broken_links(page: Path, root: Path = ROOT) -> Iterator[str]:
    """Yield one sentence for each link of a page that leads nowhere."""
    for link in links(page.read_text()):
        target = link.target
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, fragment = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        where = f"{page.relative_to(root)}:{link.line}: {target}"
        if not file.is_relative_to(root) or not file.exists():
            yield f"{where}: no such file"
        elif fragment and file.suffix == ".md" and fragment not in _anchors_of(file):
            yield f"{where}: {file.relative_to(root)} has no heading with this anchor"


def main() -> int:
    """Print the broken links; return the exit code."""
    broken = [problem for page in pages() for problem in broken_links(page)]
    print("\n".join(broken), end="\n" if broken else "")
    return 1 if broken else 0


@cache
def _anchors_of(page: Path) -> set[str]:
    return anchors(page.read_text())


def _is_ignored(path: Path) -> bool:
    return any(part.startswith(".") or part in _NOT_OURS for part in path.parts)


if __name__ == "__main__":
    sys.exit(main())
