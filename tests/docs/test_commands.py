"""The commands of the README and of the tutorials do what their pages show; those of every page can be parsed."""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from docs.tools.links import ROOT, pages
from models.__main__ import command_line as models_command_line
from models.bundle import load_bundle
from service.__main__ import command_line as service_command_line
from service.keys import command_line as keys_command_line
from service.probe import command_line as probe_command_line
from tests.docs.documented import HEX, Block, assert_alike, blocks, calls
from tests.service.server.test_process import server
from training.cli.command_line import command_line as training_command_line

ADDRESS = "http://127.0.0.1:8000"
BUNDLE = ROOT / "models" / "shipped" / "cifar10-lt" / "2"
DATA = ROOT.parent / "shared" / "data" / "cifar10-lt.zip"
JOB = re.compile(r"(?<=/v1/jobs/)[0-9a-f]{32}")
PARSERS = {
    "models": models_command_line,
    "service": service_command_line,
    "service.keys": keys_command_line,
    "service.probe": probe_command_line,
    "training": training_command_line,
}
STEP_BY_STEP = ["README.md", "docs/tutorials/first-request.md", "docs/how-to/triton-clients.md"]
HISTORIES = {"training/LOG.md", "CHANGELOG.md"}  # their commands are those of their day


def programs() -> Iterator[Any]:
    """Every documented call of a program of ours: its name and arguments."""
    for page in pages():
        name = str(page.relative_to(ROOT))
        if name in HISTORIES or "shipped" in name:
            continue
        for program, arguments in calls(name):
            yield pytest.param(program, arguments, id=f"{name}: {program} {' '.join(arguments)}"[:120])


@pytest.mark.parametrize(("program", "arguments"), list(programs()))
def test_every_documented_command_is_one_the_program_takes(program: str, arguments: list[str]) -> None:
    if any("$" in word for word in arguments):
        pytest.skip("a template")
    assert isinstance(PARSERS[program]().parse_args(arguments), argparse.Namespace)


class Reader:
    """Does what a page says, in a folder, with a running server.

    Args:
        url: the server's address.
        folder: where the commands run.
        within: the largest difference of a number from the one that is shown.

    """

    def __init__(self, url: str, folder: Path, within: float = 2e-3) -> None:
        self.within = within
        self.url = url
        self.folder = folder
        self.ids: dict[str, str] = {}
        self.job = ""

    def follow(self, page: str) -> None:
        """Run each request and each script of the page, and compare what comes out with what the page shows."""
        found = blocks(page)
        for block, after in zip(found, [*found[1:], Block("", "", "")], strict=True):
            if block.language == "sh" and block.text.startswith("curl"):
                self._request(block, after)
            if block.language == "python":
                self._script(block, after)

    def _request(self, block: Block, after: Block) -> None:
        answer = json.loads(self._run(["bash", "-euc", self._here(block.text).replace("curl ", "curl -sS ", 1)]))
        assert "error" not in answer or answer["error"] is None
        self.job = self.job or answer.get("job", {}).get("id", "")  # of the page's only request that it polls for
        if after.language == "json":
            assert_alike(json.loads(after.text), answer, self.ids, self.within)

    def _script(self, block: Block, after: Block) -> None:
        printed = self._run([sys.executable, "-c", self._here(block.text)]).strip()
        shown = re.search(r"prints `([^`]+)`", block.after)
        if after.language == "text":
            assert printed == after.text.strip()
        else:
            assert printed == (shown[1] if shown else "")

    def _here(self, text: str) -> str:
        """The command with the address and the ids of this server."""
        text = JOB.sub(self.job, text).replace(ADDRESS, self.url)
        text = text.replace(ADDRESS.removeprefix("http://"), self.url.removeprefix("http://"))
        return HEX.sub(lambda known: self.ids.get(known[0], known[0]), text)

    def _run(self, words: list[str]) -> str:
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=False, timeout=400)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.mark.parametrize("page", STEP_BY_STEP)
def test_the_commands_of_a_page_give_what_it_shows(page: str, tmp_path: Path) -> None:
    with server(load_bundle(BUNDLE), "--database", f"sqlite:///{tmp_path / 'docs.db'}") as (_, url):
        Reader(url, ROOT).follow(page)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not DATA.exists(), reason=f"choosing α: NOT tested, there is no {DATA.name} in ../shared/data")
def test_the_tutorial_on_choosing_alpha_gives_what_it_shows(tmp_path: Path) -> None:
    (tmp_path / DATA.name).symlink_to(DATA)
    with server(load_bundle(BUNDLE), "--database", f"sqlite:///{tmp_path / 'docs.db'}") as (_, url):
        reader = Reader(
            url, tmp_path, within=0.011
        )  # one of 100 pictures of a class: another processor rounds another way
        reader.follow("docs/tutorials/choosing-alpha.md")
        report = finished(f"{url}/v1/jobs/{reader.job}")
        points = httpx.get(f"{url}/v1/models/cifar10-lt/operating-points").text
    text = (ROOT / "docs/tutorials/choosing-alpha.md").read_text()
    rows = re.findall(r"^\| (all classes|many|medium)\b.*?\| (.*) \|$", text, re.MULTILINE)
    sources = (
        report["before"],
        report["after"],
        report["cross_fitted"],
        report["logit_adjustment"]["after"],
        report["logit_adjustment"]["cross_fitted"],
    )
    for name, cells in rows:
        figure = "overall" if name == "all classes" else name
        shown = [float(cell) for cell in cells.split("|")]
        assert shown == pytest.approx([100 * source[figure] for source in sources], abs=0.06), name
    assert len(rows) == 3
    assert '"mine"' in points


def finished(address: str) -> dict[str, Any]:
    """The report of a job, once it is done."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        job: dict[str, Any] = httpx.get(address, timeout=60).json()
        if job["state"] == "done":
            report: dict[str, Any] = job["result"]
            return report
        assert job["state"] in {"queued", "running"}, job
        time.sleep(0.2)
    raise AssertionError("the job does not end")
