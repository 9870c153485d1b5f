"""What the documentation says exists, exists; and it stays short where it promises to."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from docs.tools.links import ROOT, broken_links, pages
from docs.tools.markdown import links
from docs.tools.site import stage
from service import version

FOLDER_READMES = ["service", "training", "models", "docker", "service/storage", "tests", "benchmarks"]
PATH = re.compile(r"`((?:models|engines|service|training|tests|docs|benchmarks|docker)/[\w./-]+)`")
MADE_BY_READERS = ("docker/secrets/", "models/shipped/my-model", "models/shipped/traps")
HISTORIES = {"LOG.md", "CHANGELOG.md", "RESULTS.md"}  # paths of their day
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


class MkdocsLoader(yaml.SafeLoader):
    """Reads mkdocs.yml without calling what it names."""


MkdocsLoader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert not list(broken_links(page))


def test_a_broken_link_and_a_missing_anchor_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# One thing\n")
    page = tmp_path / "page.md"
    page.write_text("[a](other.md#one-thing) [b](other.md#no) ![c](no.png) `[d](no.md)` [e](https://x.org/no)\n")
    assert [problem.split(": ")[1] for problem in broken_links(page, tmp_path)] == ["other.md#no", "no.png"]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = [] if page.name in HISTORIES else PATH.findall(page.read_text())
    assert not [name for name in named if not name.startswith(MADE_BY_READERS) and not (ROOT / name).exists()]


def test_every_page_is_in_the_navigation() -> None:
    navigation = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=MkdocsLoader)["nav"]  # noqa: S506  a safe one
    listed = {str(page) for section in navigation for page in flat(section)}
    written = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert listed == written


def flat(section: object) -> list[object]:
    """The pages of a section of the navigation."""
    if isinstance(section, dict):
        return [page for value in section.values() for page in flat(value)]
    return [page for value in section for page in flat(value)] if isinstance(section, list) else [section]


def test_the_site_is_made_of_files_of_its_own(tmp_path: Path) -> None:
    stage(tmp_path)
    for page in tmp_path.rglob("*.md"):
        for link in links(page.read_text()):
            path = link.target.partition("#")[0]
            if path and "://" not in path:
                target = (page.parent / path).resolve()
                assert target.is_relative_to(tmp_path), (page, link)
                assert target.is_file(), (page, link)


def test_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 130
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("folder", FOLDER_READMES)
def test_a_folders_readme_says_what_lives_there_in_thirty_lines(folder: str) -> None:
    assert len((ROOT / folder / "README.md").read_text().splitlines()) <= 30


def test_readme_shows_the_two_commands_verbatim() -> None:
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in ("serve", "test"):
        assert re.search(rf"^make {target}$", readme, re.MULTILINE)
        assert re.search(rf"^{target}: ", makefile, re.MULTILINE)


def test_readmes_results_are_those_of_the_log_and_of_the_shipped_models() -> None:
    readme = (ROOT / "README.md").read_text()
    log = (ROOT / "training" / "LOG.md").read_text().partition("200 epochs, small pictures first")[2]
    for data in ("CIFAR-10-LT", "CIFAR-100-LT"):
        row = rf"^\| {data} \| \d+ \| ([\d.]+) \| ([\d.]+) \(.*?\) \| \*\*([\d.]+)\*\* .*?\| ([\d.]+) \("
        logged = re.findall(row, log, re.MULTILINE)
        row = rf"^\| {data}\b.*?\| (\d) \| ([\d.]+) \| ([\d.]+) \| \*\*([\d.]+)\*\* \| ([\d.]+) \|"
        shown = re.findall(row, readme, re.MULTILINE)
        assert [run for run, *_ in shown] == ["1", "2"]
        for (_, *figures), exact in zip(shown, logged[:2], strict=True):
            assert list(map(float, figures)) == pytest.approx(list(map(float, exact)), abs=0.0501)


def test_the_picture_of_the_architecture_names_every_folder() -> None:
    picture = (ROOT / "docs" / "images" / "architecture.svg").read_text()
    named = set(re.findall(r"[a-z]+", " ".join(re.findall(r'class="(?:name|head)"[^>]*>([^<]+)<', picture))))
    folders = {path.parent.name for root in ("service", "training") for path in (ROOT / root).glob("*/__init__.py")} | {
        "models",
        "engines",
        "service",
        "training",
        "playground",
    }
    assert named == folders


def test_changelog_opens_with_the_version_of_the_project() -> None:
    assert re.search(r"^## \[(\d.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == VERSION


def test_the_citation_has_the_version_of_the_project_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == VERSION
    assert version.VERSION == VERSION
    assert citation["license"] == "Apache-2.0"
    assert "2009.12991" in citation["preferred-citation"]["url"]


def test_no_page_names_a_machine_path() -> None:
    named = {
        page: path
        for page in pages()
        for path in re.findall(r"(?<![\w.])/(?:work|root|home|tmp)/\S*", page.read_text())
    }
    assert not named
