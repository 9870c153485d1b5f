"""`python -m docs.tools.site`: build the documentation as a site in site/, which needs no other host.

The pages link to files outside docs/, as GitHub shows them: results, logs, model cards, pictures. The build works on a
copy in build/docs/ that has those files too. A link to anything but a page or a picture becomes plain text there.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from docs.tools.links import ROOT
from docs.tools.markdown import Link, links

__all__ = ["main", "stage"]

DOCS = ROOT / "docs"
STAGED = ROOT / "build" / "docs"
OUTSIDE = "project"  # folder of the copy for what lies outside docs/
PICTURES = {".svg", ".png", ".webp", ".jpg"}
EXTRAS = {".css"}


def stage(target: Path = STAGED) -> None:
    """Write the pages to build, and all that they link to, into an empty folder."""
    shutil.rmtree(target, ignore_errors=True)
    for file in DOCS.rglob("*"):
        if file.suffix in PICTURES | EXTRAS:
            _copy(file, target / file.relative_to(DOCS))
    waiting = sorted(DOCS.rglob("*.md"))
    done: set[Path] = set()
    while waiting:
        page = waiting.pop()
        if page in done:
            continue
        done.add(page)
        text, linked = _staged(page)
        place = target / _place(page)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        for file in linked:
            if file.suffix == ".md":
                waiting.append(file)
            elif not file.is_relative_to(DOCS):
                _copy(file, target / _place(file))


def main() -> int:
    """Build the site; return the exit code."""
    stage()
    return subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=ROOT, check=False).returncode


def _staged(page: Path) -> tuple[str, list[Path]]:
    """A page's text with its links to files outside docs/ changed, and the files it links to."""
    text = page.read_text()
    parts: list[str] = []
    linked: list[Path] = []
    position = 0
    for link in links(text):
        file = _target(page, link)
        if file is None:
            continue
        parts.append(text[position : link.start])
        position = link.end
        if file.suffix == ".md" or file.suffix in PICTURES:
            linked.append(file)
            _, hash_sign, fragment = link.target.partition("#")
            relative = os.path.relpath(_place(file), Path(_place(page)).parent)
            parts.append(f"[{link.text}]({relative}{hash_sign}{fragment})")
        else:
            parts.append(link.text)
    return "".join([*parts, text[position:]]), linked


def _target(page: Path, link: Link) -> Path | None:
    """The file of the project that a link leads to; None for other hosts and for the page itself."""
    path = link.target.partition("#")[0]
    return None if not path or "://" in path else (page.parent / path).resolve()


def _place(file: Path) -> str:
    """Where a file lies in the copy."""
    if file.is_relative_to(DOCS):
        return str(file.relative_to(DOCS))
    return f"{OUTSIDE}/{file.relative_to(ROOT)}"


def _copy(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, place)


if __name__ == "__main__":
    sys.exit(main())
