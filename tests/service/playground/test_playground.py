"""The playground's files, and its arithmetic compared with models/; test_playground_browser.py runs it in a browser."""

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import tde
from models.alpha_path import alpha_path
from models.prior import prior_shift, target_prior
from tests.service.conftest import Running

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "service" / "playground"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())
TEXTS = [path for path in FILES if path.suffix in {".html", ".css", ".js", ".svg"}]
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
PAGE = (FOLDER / "index.html").read_text()


class Tags(HTMLParser):
    """Every tag with its attributes, and the text inside scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in {"script", "style"}:
            self.inline += data.strip()


@pytest.mark.anyio
async def test_the_page_and_its_files_have_a_content_type_and_a_policy(running: Running) -> None:
    kinds = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    async with running() as service:
        page = await service.client.get("/")
        answers = {path: await service.client.get(f"/playground/{path.relative_to(FOLDER)}") for path in FILES}
    assert page.text == PAGE
    for path, answer in answers.items():
        assert (answer.status_code, answer.content) == (200, path.read_bytes())
        assert answer.headers["content-type"].startswith(kinds.get(path.suffix, ""))
    for answer in (page, *answers.values()):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.anyio
async def test_a_cached_page_is_not_sent_again(running: Running) -> None:
    async with running() as service:
        first = await service.client.get("/")
        again = await service.client.get("/", headers={"If-None-Match": first.headers["etag"]})
        probe = await service.client.head("/")
    assert first.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")
    assert (probe.status_code, probe.content) == (200, b"")


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["nothing.js", "../app.py", "%2e%2e/app.py", "..%2f..%2fpyproject.toml", "samples/"])
async def test_only_the_folder_is_served(running: Running, path: str) -> None:
    async with running() as service:
        answer = await service.client.get(f"/playground/{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_no_file_names_another_host(path: Path) -> None:
    assert set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", path.read_text())) <= {"http://www.w3.org/2000/svg"}


def test_the_page_has_no_inline_script_or_style() -> None:
    page = Tags()
    page.feed(PAGE)
    attributes = {name for _, attributes in page.tags for name in attributes}
    assert page.inline == ""
    assert "style" not in attributes
    assert not {name for name in attributes if name.startswith("on")}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_turns_text_into_markup(path: Path) -> None:
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(.style|srcdoc"
    )
    assert not re.search(forbidden, path.read_text())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_import_exists_and_every_script_has_at_most_300_lines(path: Path) -> None:
    text = path.read_text()
    imported = re.findall(r'^import [^"]*"([^"]+)";$', text, re.MULTILINE)
    assert not [name for name in imported if not (FOLDER / name).is_file()]
    assert text.startswith("/**")
    assert len(text.splitlines()) <= 300


def test_the_samples_are_the_tests_pictures() -> None:
    for path in FOLDER.glob("samples/*.webp"):
        assert path.read_bytes() == (ROOT / "tests" / "images" / path.name).read_bytes()


def in_node(script: str, value: Any) -> Any:
    """Evaluate a JavaScript expression of `value` in Node; `arithmetic` and `numbers` are imported."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("NOT tested, there is no node on PATH; only the browser tests cover the page's arithmetic")
    names = ("arithmetic", "numbers")
    urls = {name: base64.b64encode((FOLDER / f"{name}.js").read_bytes()).decode() for name in names}
    head = "".join(f"const {name} = await import('data:text/javascript;base64,{url}');\n" for name, url in urls.items())
    read = "const value = JSON.parse((await import('node:fs')).readFileSync(0, 'utf8'));\n"
    done = subprocess.run(
        [node, "--input-type=module", "-e", f"{head}{read}console.log(JSON.stringify({script}));"],
        input=json.dumps(value),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def images(seed: int) -> dict[str, Any]:
    """Return random logits, cosines and effects; every third seed has ties, parallel lines and lines without slope."""
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(1, 40))
    draw = rng.standard_normal if seed % 3 else lambda shape: rng.integers(-2, 3, shape).astype(float)
    return {
        "logits": draw(classes).tolist(),
        "cosine": draw(2).tolist(),
        "effect": draw((2, classes)).tolist(),
        "alpha": float(rng.uniform(-5, 5)),
    }


def test_the_page_draws_the_same_path_as_models() -> None:
    cases = [images(seed) for seed in range(60)]
    path = "arithmetic.alphaPath(v.logits, arithmetic.headEffect(v.cosine, v.effect))"
    drawn = in_node(f"value.map((v) => {path}.map((s) => [String(s.from), String(s.to), s.index]))", cases)
    for case, steps in zip(cases, drawn, strict=True):
        slope = tde.head_effect(np.array([case["cosine"]]), np.array(case["effect"]))[0]
        ours = alpha_path(np.array(case["logits"]), slope)
        assert [step[2] for step in steps] == [step.class_index for step in ours]
        ends = np.array([[float(a), float(b)] for a, b, _ in steps])
        np.testing.assert_allclose(
            ends, [(step.low, step.high) for step in ours], rtol=1e-9, atol=1e-9
        )  # float64 on both sides


@pytest.mark.parametrize("exempt", [None, 0])
def test_the_page_gives_the_same_probabilities_as_models_does(exempt: int | None) -> None:
    cases = [case for seed in range(60) if len((case := images(seed))["logits"]) > 1]
    shifted = "arithmetic.tdeLogits(v.logits, arithmetic.headEffect(v.cosine, v.effect), v.alpha)"
    script = f"arithmetic.probabilities(v.logits, {shifted}, {json.dumps(exempt)})"
    drawn = in_node(f"value.map((v) => Array.from({script}))", cases)
    for case, probability in zip(cases, drawn, strict=True):
        logits, cosine, effect = (np.array(case[name]) for name in ("logits", "cosine", "effect"))
        ours = tde.tde_logits(logits[None], cosine[None], effect, case["alpha"])
        expected = tde.softmax(ours) if exempt is None else tde.exempt_probabilities(logits[None], ours, exempt)
        np.testing.assert_allclose(probability, expected[0], rtol=1e-9)


def test_the_page_lists_the_same_top_classes_as_the_service() -> None:
    value = {"probability": [0.25, 0.25, 0.1, 0.25, 0.15], "logits": [1, 2, 0, 2, 0.5]}
    assert in_node("arithmetic.topClasses(value.probability, value.logits, 4)", value) == [1, 3, 0, 4]


@pytest.mark.parametrize("weights", [[1, 1, 1], [3, 0.25, 7]])
def test_the_page_shifts_logits_by_the_prior_as_models_does(weights: list[float]) -> None:
    counts = np.array([500, 50, 5])
    names = ("a", "b", "c")
    shift = in_node(
        "arithmetic.priorShift(value.weights, value.counts)", {"weights": weights, "counts": counts.tolist()}
    )
    expected = prior_shift(target_prior(dict(zip(names, weights, strict=True)), names, counts), counts)
    np.testing.assert_allclose(shift, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["plain.png", "two words.png", "it's; rm -rf ~ $(id) `id`.png", 'a"b\\c.png', "-", ""])
def test_a_file_name_stays_one_word_of_the_command(name: str) -> None:
    word = in_node("numbers.shellWord(value)", f"@{name}")
    said = subprocess.run(["sh", "-c", f"printf %s {word}"], capture_output=True, text=True, check=True)
    assert said.stdout == f"@{name}"


def test_a_line_break_in_a_file_name_never_reaches_the_command() -> None:
    assert in_node("numbers.shellWord(value)", "a\n\x1b[31mid\u202e.png") == "'a[31mid.png'"
