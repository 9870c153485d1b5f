"""The playground's feedback and tuning in Chromium, also while the database is unavailable."""

import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser

from tests.service.browser import CHROMIUM, IMAGES, ROOT, Opened, Playground, chromium, get, opener, path_of, server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="NOT tested, there is no Chromium"),
]
SHIPPED = ROOT / "models" / "shipped"
DATA = ROOT.parent / "shared" / "data" / "cifar10-lt.zip"
MODEL = "/v1/models/cifar10-lt"
UNAVAILABLE = "postgresql://longtail@127.0.0.1:1/nothing"  # no server listens on port 1


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def opened(browser: Browser) -> Opened:
    return opener(browser)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with server(SHIPPED, f"sqlite:///{tmp_path}/longtail.db") as address:
        yield address


@pytest.fixture
def playground(opened: Opened, url: str) -> Iterator[Playground]:
    with opened(url) as page:
        page.open("model=cifar10-lt")
        yield page


def archive(per_class: int, **extra: bytes) -> dict[str, str | bytes]:
    """Return a zip of test pictures in class folders, in the form that Playwright's file input expects."""
    if not DATA.is_file():
        pytest.skip(f"NOT tested, there is no {DATA}")
    file = io.BytesIO()
    taken = Counter[str]()
    with zipfile.ZipFile(DATA) as source, zipfile.ZipFile(file, "w") as target:
        for name in source.namelist():
            split, _, rest = name.partition("/")
            label = rest.partition("/")[0]
            if split == "test" and rest.endswith(".webp") and taken[label] < per_class:
                taken[label] += 1
                target.writestr(rest, source.read(name))
        for name, data in extra.items():
            target.writestr(name.replace("__", "/") + ".webp", data)
    return {"name": "small.zip", "mimeType": "application/zip", "buffer": file.getvalue()}


def test_feedback_from_a_bar_is_saved_and_shown_on_the_band(playground: Playground) -> None:
    page = playground.page
    assert "No labels for this model yet" in playground.text("#counts")
    page.check("#curve-source input[value=feedback]")
    assert "No labels yet" in playground.text("#curve")
    playground.sample("truck")
    page.click("#bars li:has-text('truck') button")
    page.wait_for_selector("#given:has-text('Saved: truck is the true class.')")
    page.wait_for_selector("#curve svg")
    step = next(s for s in path_of(playground.url, "cifar10-lt", "truck.webp") if s["name"] == "truck")
    assert f"true class truck wins from {step['from']:.3f} to {step['to']:.3f}" in playground.text("#won")
    assert page.get_attribute("#bars .labelled", "data-index") == "9"
    assert re.search(r"Labels\s+1 \(0 many, 1 medium\)", playground.text("#counts"))
    assert get(playground.url, f"{MODEL}/feedback")["labels"] == 1


def test_the_feedback_curve_moves_with_a_correction(playground: Playground) -> None:
    page = playground.page
    playground.sample("truck")
    page.check("#curve-source input[value=feedback]")
    playground.set_alpha("1")
    for name, share in [("airplane", "0.0 %"), ("truck", "100.0 %")]:
        page.fill("#class-filter", name)
        page.click("#send-feedback")
        page.wait_for_selector(f"#given:has-text('Saved: {name}')")
        page.wait_for_selector(f"#figures [data-figure=overall] .value:has-text('{share}')")
    assert get(playground.url, f"{MODEL}/feedback")["labels"] == 1


def test_a_true_class_that_never_wins_is_reported(playground: Playground) -> None:
    playground.sample("ship")
    playground.page.select_option("#class-list", label="frog (many)")
    playground.page.click("#send-feedback")
    playground.page.wait_for_selector("#won:has-text('frog does not win at any α')")


def test_the_true_classs_interval_follows_the_prior(playground: Playground) -> None:
    page = playground.page
    playground.sample("truck")
    page.click("#bars li:has-text('truck') button")
    page.wait_for_selector("#given:has-text('Saved')")
    page.check("#prior input[value=uniform]")
    playground.frame()
    path = path_of(playground.url, "cifar10-lt", "truck.webp", prior="uniform")
    start = next(step["from"] for step in path if step["name"] == "truck")
    assert f"wins from {start:.3f}".replace("-", "−") in playground.text("#won")


def test_tuning_on_a_zip_shows_what_the_api_answers_and_saves_it(playground: Playground) -> None:
    page = playground.page
    small = archive(20)
    page.set_input_files("#archive", small)
    page.click("#start-tune")
    page.wait_for_selector(".suggested")
    answer = httpx.post(
        f"{playground.url}{MODEL}/alpha/tune?wait=30", files={"archive": small["buffer"]}, timeout=60
    ).json()
    assert f"= {answer['alpha']:.3f}" in playground.text(".suggested")
    assert "200 images from small.zip" in playground.text(".headline")
    low, high = answer["confidence_interval"]
    assert f"95 % confidence {low:.3f} to {high:.3f}" in playground.text(".headline")
    row = playground.text(".comparison [data-figure=balanced]").split("\t")
    expected = [answer["before"]["balanced"], answer["after"]["balanced"]]
    assert [cell.strip() for cell in row[1:3]] == [f"{100 * value:.1f} %" for value in expected]
    assert row[3].strip() == f"+{100 * answer['gain']['balanced']:.1f}"
    assert "logit adj." in playground.text(".comparison thead")
    page.click("#try-alpha")
    playground.frame()
    assert float(page.input_value("#alpha-number")) == pytest.approx(answer["alpha"], abs=1e-4)
    page.fill("#point-name", "evening")
    page.click("#save-point")
    page.wait_for_selector("[data-name=evening]")
    stored = get(playground.url, f"{MODEL}/operating-points")["operating_points"]["evening"]
    assert stored["alpha"] == answer["alpha"]
    page.fill("#point-name", "head")
    playground.expected.add(409)
    page.click("#save-point")
    page.wait_for_selector("#tune-result .error:has-text('head')")


def test_constraints_hold_and_impossible_ones_are_reported(playground: Playground) -> None:
    page = playground.page
    page.set_input_files("#archive", archive(20))
    page.select_option("#objective", "worst_class")
    page.click("#add-constraint")
    page.fill(".constraint input", "75")
    page.click("#start-tune")
    page.wait_for_selector(".headline:has-text('while overall ≥ 75.0 %')")
    assert float(playground.text(".comparison [data-figure=overall] td:nth-of-type(2)").split()[0]) >= 75
    playground.expected.add(422)
    page.fill(".constraint input", "99")
    page.click("#start-tune")
    page.wait_for_selector("#tune-error:has-text('no alpha in')")
    page.fill(".constraint input", "lots")
    page.click("#start-tune")
    page.wait_for_selector("#tune-error:has-text('write FIGURE >= VALUE')")


def test_a_file_that_cannot_be_read_is_listed(playground: Playground) -> None:
    playground.page.set_input_files("#archive", archive(20, **{"cat__<b>odd": b"no picture"}))
    playground.page.click("#start-tune")
    playground.page.wait_for_selector(".unreadable")
    assert "cat/<b>odd.webp" in playground.text(".unreadable")


def test_what_of_a_zip_is_not_used_is_said(playground: Playground) -> None:
    playground.page.set_input_files("#archive", archive(20, no_label__odd=b"x"))
    playground.page.click("#start-tune")
    playground.page.wait_for_selector(".data-note")
    said = "Data: all 200 pictures of the archive; left out 1 picture without a label: 1 in no_label."
    assert playground.text(".data-note") == said


def test_a_file_that_is_not_a_zip_gets_the_servers_message(playground: Playground) -> None:
    playground.page.click("#start-tune")
    assert "Choose a zip first" in playground.text("#tune-error")
    playground.expected.update({400, 415, 422})
    odd = {"name": "a.zip", "mimeType": "application/zip", "buffer": b"no zip"}
    playground.page.set_input_files("#archive", odd)
    playground.page.click("#start-tune")
    playground.page.wait_for_selector("#tune-error .error:has-text('zip')")


def test_a_long_job_shows_its_progress_and_can_be_cancelled(playground: Playground) -> None:
    page = playground.page
    page.set_input_files("#archive", archive(400))
    page.click("#start-tune")
    page.wait_for_selector("#tune-progress:has-text('of 4,000 images')")
    page.click("#cancel-tune")
    page.wait_for_selector("#tune-error:has-text('Cancelled')")
    assert page.is_hidden("#tune-progress")
    assert page.is_enabled("#start-tune")


def test_tuning_on_feedback(playground: Playground) -> None:
    page = playground.page
    page.check("[name=tune-source][value=feedback]")
    playground.expected.add(422)
    page.click("#start-tune")
    page.wait_for_selector("#tune-error:has-text('no feedback')")
    for name in ("truck", "ship", "cat"):
        playground.sample(name)
        page.wait_for_selector(f"[data-sample={name}][aria-pressed=true]")
        page.fill("#class-filter", name)
        page.click("#send-feedback")
        page.wait_for_selector(f"#given:has-text('Saved: {name}')")
    page.click("#start-tune")
    page.wait_for_selector(".headline:has-text('3 labels from feedback')")


def test_an_unavailable_database_is_reported_and_predictions_go_ahead(opened: Opened) -> None:
    with server(SHIPPED, UNAVAILABLE) as url, opened(url, expected=(503,)) as playground:
        playground.open("model=cifar10-lt")
        playground.page.wait_for_selector("#counts-error .error")
        playground.sample("truck")
        assert playground.bars()[0][0] == "airplane"
        playground.page.click("#bars li:has-text('truck') button")
        playground.page.wait_for_selector("#feedback-error .error")
        assert "database" in playground.text("#feedback-error")


def test_a_server_that_stopped_is_reported(opened: Opened, tmp_path: Path) -> None:
    with server(SHIPPED, f"sqlite:///{tmp_path}/longtail.db") as url, opened(url) as playground:
        playground.open("model=cifar10-lt")
        playground.page.context.set_offline(True)
        playground.page.set_input_files("#file", IMAGES / "cat.webp")
        playground.page.wait_for_selector("#picture-error:has-text('does not answer; is it still running?')")
        playground.problems.clear()  # the browser logs the failed request


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_a_report_without_scrolling_sideways(opened: Opened, url: str, scheme: str) -> None:
    with opened(url, width=360, color_scheme=scheme) as playground:
        playground.open("model=cifar10-lt&image=truck&alpha=balanced")
        playground.page.set_input_files("#archive", archive(20))
        playground.page.click("#start-tune")
        playground.page.wait_for_selector(".suggested")
        playground.page.click("#bars li:has-text('truck') button")
        playground.page.wait_for_selector("#given:has-text('Saved')")
