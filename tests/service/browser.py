"""A real server and a real Chromium, for the playground's browser tests."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, sync_playwright

from models.manifest import ClassInfo, group_of
from tests.tiny_bundle import TinyModel

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "tests" / "images"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
HOSTILE = (
    '<img src=x onerror="document.title=1"> \' " & 名前 🐈 '  # a number follows in each of the thousand class names
)


class WideModel(TinyModel):
    """A model with many classes, most of which are rare."""

    @property
    def counts(self) -> NDArray[np.int64]:
        """(C,) training counts, from 500 down to 1."""
        return np.maximum(500 // np.arange(1, self.num_classes + 1), 1)


def write_wide_bundle(root: Path) -> None:
    """Write root/wide/1: a thousand classes whose names would inject markup into a careless page."""
    model = WideModel(1000)
    names = [f"{HOSTILE}{index}" for index in range(1000)]
    pairs = zip(names, model.counts.tolist(), strict=True)
    classes = tuple(ClassInfo(name, count, group_of(count)) for name, count in pairs)
    model.write(root, dataclasses.replace(model.manifest("wide"), classes=classes))


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser that sends no requests of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def server(models: Path, database: str, *flags: str) -> Iterator[str]:
    """Run the service in its own process; yields its URL."""
    command = [sys.executable, "-m", "service", "--port", "0", "--models", str(models), "--database", database, *flags]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", line):
                yield found[1]
                break
        else:
            raise AssertionError("the server did not start:\n" + "".join(lines))
    finally:
        process.kill()
        process.communicate()


@dataclass
class Playground:
    """The page, the server behind it, and the problems seen in the browser."""

    page: Page
    url: str
    expected: set[int] = field(default_factory=set)  # HTTP statuses that this test provokes
    problems: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Record console errors, uncaught exceptions and requests to other hosts."""
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        self.page.on("request", self._request)

    def open(self, hash_words: str = "") -> None:
        """Open the page and wait until it shows a model."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}/{hash_words and '#' + hash_words}")
        self.page.wait_for_selector("#scale span")
        self.page.wait_for_load_state("networkidle")

    def sample(self, name: str) -> None:
        """Choose a sample and wait for its bars."""
        self.page.click(f"[data-sample={name}]")
        self.page.wait_for_selector("#bars li[data-index]")

    def set_alpha(self, text: str) -> None:
        """Type an α."""
        self.page.fill("#alpha-number", text)
        self.page.press("#alpha-number", "Enter")
        self.frame()

    def frame(self) -> None:
        """Wait until the page has drawn the last change."""
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def bars(self) -> list[tuple[str, str, str]]:
        """Return name, group and percentage of every row."""
        read = (
            "(rows) => rows.map((r) => ['.name', '.group', '.share'].map((part) => r.querySelector(part).textContent))"
        )
        return [tuple(row) for row in self.page.eval_on_selector_all("#bars li[data-index]", read)]

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        return self.page.inner_text(selector)

    def curl(self) -> str:
        """Return the curl command that the page shows."""
        self.page.wait_for_timeout(200)  # the page writes it 80 ms after the last change
        return self.text("#curl")

    def words(self) -> dict[str, str]:
        """Return the settings in the page's URL."""
        self.page.wait_for_timeout(400)  # the page writes it 250 ms after the last change
        return dict(pair.split("=", 1) for pair in urlsplit(self.page.url).fragment.split("&"))

    def middle(self, part: Locator) -> float:
        """Return the horizontal centre of an element, in pixels."""
        box = part.bounding_box()
        assert box is not None
        return box["x"] + box["width"] / 2

    def _console(self, message: ConsoleMessage) -> None:
        status = re.search(r"status of (\d{3})", message.text)
        bare = re.search("/(wide|exempt)/alpha/curve", message.location["url"])  # these bundles hold no curve
        known = status and (int(status[1]) in self.expected or (bare and status[1] == "404"))
        if message.type in {"error", "warning"} and not known:
            self.problems.append(f"{message.type}: {message.text} {message.location}")

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"about", "blob"} and f"{parts.scheme}://{parts.netloc}" != self.url:
            self.problems.append(f"asked another host: {request.url}")


Opened = Callable[..., AbstractContextManager[Playground]]


def opener(browser: Browser) -> Opened:
    """`with opened(url, width=360, color_scheme="dark") as playground:`; fails at the end if there were problems."""

    @contextmanager
    def opened(url: str, *, width: int = 1280, expected: tuple[int, ...] = (), **options: Any) -> Iterator[Playground]:
        context = browser.new_context(viewport={"width": width, "height": 740}, **options)
        playground = Playground(context.new_page(), url, set(expected))
        playground.watch()
        yield playground
        wide = playground.page.evaluate("document.documentElement.scrollWidth")
        context.close()
        assert not playground.problems, playground.problems
        assert wide <= width, f"{wide} px wide in a window of {width} px"

    return opened


def classify(url: str, model: str, image: str, **query: Any) -> list[dict[str, Any]]:
    """Return the service's own classification of a picture."""
    data = (IMAGES / image).read_bytes()
    answer = httpx.post(
        f"{url}/v1/models/{model}/classify", params=query, content=data, headers={"Content-Type": "image/webp"}
    )
    return list(answer.raise_for_status().json()["results"][0]["predictions"][0]["classes"])


def path_of(url: str, model: str, image: str, **query: Any) -> list[dict[str, Any]]:
    """Return a picture's path along α as the service computes it."""
    data = (IMAGES / image).read_bytes()
    answer = httpx.post(
        f"{url}/v1/models/{model}/alpha-path", params=query, content=data, headers={"Content-Type": "image/webp"}
    )
    return list(answer.raise_for_status().json()["results"][0]["path"])


def get(url: str, path: str) -> Any:
    """Return the JSON of a GET request."""
    return json.loads(httpx.get(f"{url}{path}").raise_for_status().text)
