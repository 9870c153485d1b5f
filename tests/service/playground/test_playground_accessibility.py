"""The playground and /docs for people with a phone, a keyboard, forced colours or low vision."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Locator, Page

from tests.service.browser import (
    CHROMIUM,
    IMAGES,
    ROOT,
    Opened,
    Playground,
    chromium,
    get,
    opener,
    server,
    write_wide_bundle,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="NOT tested, there is no Chromium"),
]
PHONE = {"width": 390, "height": 844}
SCREENS = [PHONE, {"width": 1280, "height": 740}]
TRUCK = "model=cifar10-lt&image=truck"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def opened(browser: Browser) -> Opened:
    return opener(browser)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("data")
    with server(ROOT / "models" / "shipped", f"sqlite:///{data}/longtail.db") as address:
        yield address


@pytest.fixture(scope="module")
def narrow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that accepts α up to 3, with a model that knows none of the samples."""
    root = tmp_path_factory.mktemp("models")
    write_wide_bundle(root)
    data = tmp_path_factory.mktemp("data")
    with server(root, f"sqlite:///{data}/longtail.db", "--max-alpha", "3") as address:
        yield address


def on_screen(page: Page, part: Locator) -> bool:
    """Return whether an element lies in the window and nothing covers its middle."""
    box = part.bounding_box()
    size = page.viewport_size
    assert box is not None
    assert size is not None
    if box["y"] < 0 or box["y"] + box["height"] > size["height"]:
        return False
    middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    return bool(
        part.evaluate(
            "(part, [x, y]) => { const top = document.elementFromPoint(x, y); return part.contains(top) "
            "|| top.contains(part); }",
            middle,
        )
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS, ids=["phone", "desktop"])
def test_axe_finds_no_fault_on_the_page(browser: Browser, url: str, screen: Any, scheme: Any) -> None:
    context = browser.new_context(viewport=screen, color_scheme=scheme)
    playground = Playground(context.new_page(), url)
    playground.open(f"{TRUCK}&prior=custom&alpha=balanced")
    playground.page.wait_for_selector("#bars li[data-index]")
    found = Axe().run(playground.page).response["violations"]
    assert [(fault["id"], [node["target"] for node in fault["nodes"]]) for fault in found] == []
    context.close()


def test_the_documentation_has_the_contrast_that_low_vision_needs(browser: Browser, url: str) -> None:
    page = browser.new_page()
    page.goto(f"{url}/docs")
    for method in ("post", "get", "put", "delete"):
        page.locator(f".opblock-{method} .opblock-summary-control").first.click()
        page.locator(f".opblock-{method} .opblock-body").first.wait_for()
    page.locator(".opblock-get .execute").first.click()
    page.wait_for_selector(".live-responses-table, .responses-wrapper .response-col_status")
    found = Axe().run(page, options={"runOnly": ["color-contrast"]}).response["violations"]
    assert [(node["target"], node["any"][0]["message"]) for fault in found for node in fault["nodes"]] == []
    page.close()


@pytest.mark.parametrize("model", ["cifar10-lt", "cifar100-lt"])
@pytest.mark.parametrize("height", [844, 667])
def test_a_phone_shows_slider_and_prediction_together(opened: Opened, url: str, model: str, height: int) -> None:
    with opened(url, width=390) as playground:
        page = playground.page
        page.set_viewport_size({"width": 390, "height": height})
        playground.open(f"model={model}&image=truck&alpha=balanced")
        page.wait_for_selector("#bars li[data-index]")
        first = page.locator("#bars li[data-index]").first
        for _ in range(2):
            assert on_screen(page, page.locator("#alpha"))
            assert on_screen(page, page.locator("#alpha-number"))
            assert on_screen(page, first)
            page.locator("#predictions-title").evaluate("(title) => title.scrollIntoView()")


def test_the_phones_slider_covers_nothing_that_has_the_focus(opened: Opened, url: str) -> None:
    with opened(url, width=390) as playground:
        page = playground.page
        page.set_viewport_size({"width": 390, "height": 844})
        playground.open(TRUCK)
        for name in ("#copy", "#class-filter", "#start-tune"):
            page.focus(name)
            assert on_screen(page, page.locator(name)), name
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        assert on_screen(page, page.locator("#provenance"))


def test_a_phone_held_sideways_keeps_the_slider_in_the_page(opened: Opened, url: str) -> None:
    with opened(url, width=740) as playground:
        playground.page.set_viewport_size({"width": 740, "height": 390})
        playground.open(TRUCK)
        assert playground.page.locator("#alpha-lane").evaluate("(lane) => getComputedStyle(lane).position") == "static"


@pytest.mark.parametrize("width", [390, 1280])
def test_slider_and_buttons_are_large_enough_to_touch(opened: Opened, url: str, width: int) -> None:
    with opened(url, width=width) as playground:
        playground.open(f"{TRUCK}&prior=custom")
        playground.page.wait_for_selector("#bars li[data-index]")
        small = playground.page.eval_on_selector_all(
            "button, select, input:not(.visually-hidden):not([type=radio]), .switch label, .flag span",
            "(parts) => parts.filter((p) => p.offsetParent && !p.classList.contains('flag') "
            "&& Math.min(p.offsetHeight, p.offsetWidth) < 24).map((p) => p.id || p.className)",
        )
        assert small == []


@pytest.mark.parametrize("screen", SCREENS, ids=["phone", "desktop"])
def test_the_result_of_tuning_is_on_the_screen(opened: Opened, url: str, tmp_path: Path, screen: Any) -> None:
    archive = tmp_path / "labelled.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("truck", "ship", "cat"):
            for number in range(3):
                file.write(IMAGES / f"{name}.webp", f"{name}/{number}.webp")
    with opened(url, width=screen["width"]) as playground:
        page = playground.page
        page.set_viewport_size(screen)
        playground.open(TRUCK)
        page.set_input_files("#archive", archive)
        page.click("#start-tune")
        page.wait_for_selector("#tune-result .headline")
        playground.frame()
        assert on_screen(page, page.locator("#tune-result .suggested"))
        assert page.evaluate("document.activeElement.id") == "tune-result"


def test_an_error_of_tuning_is_on_the_screen(opened: Opened, url: str) -> None:
    with opened(url, width=390) as playground:
        page = playground.page
        page.set_viewport_size({"width": 390, "height": 844})
        playground.open(TRUCK)
        page.click("#start-tune")
        page.wait_for_selector("#tune-error .error")
        playground.frame()
        assert on_screen(page, page.locator("#tune-error .error"))


def test_forced_colours_show_every_state(browser: Browser, url: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, forced_colors="active")
    playground = Playground(context.new_page(), url)
    playground.open(f"{TRUCK}&alpha=tail")
    playground.page.wait_for_selector("#bars li[data-index]")
    colour = "(part) => getComputedStyle(part).backgroundColor"
    for on, off in (
        (".switch input:checked + span", ".switch input:not(:checked) + span"),
        (".flag[aria-pressed=true] span", ".flag[aria-pressed=false] span"),
    ):
        pairs = [playground.page.eval_on_selector_all(one, f"(parts) => parts.map({colour})") for one in (on, off)]
        assert pairs[0]
        assert pairs[1]
        assert not set(pairs[0]) & set(pairs[1])
    outline = "(part) => getComputedStyle(part).outlineStyle"
    assert playground.page.locator(".sample[aria-pressed=true]").evaluate(outline) == "solid"
    assert slider_pixels(playground.page) >= {"track", "thumb"}
    context.close()


def slider_pixels(page: Page) -> set[str]:
    """Return which of the slider's parts differ from the page's background in a screenshot of it."""
    shot = np.asarray(Image.open(io.BytesIO(page.locator("#alpha").screenshot())).convert("L"), int)
    middle = shot[shot.shape[0] // 2]
    ground = shot[1, 1]
    found = set()
    if np.mean(np.abs(middle - ground) > 80) > 0.8:
        found.add("track")
    if np.abs(shot[3] - ground).max() > 80:
        found.add("thumb")
    return found


def test_alpha_beyond_the_servers_limit_is_refused_with_a_sentence(opened: Opened, narrow_url: str) -> None:
    with opened(narrow_url) as playground:
        page = playground.page
        playground.open("model=wide")
        assert get(narrow_url, "/v1/models/wide")["max_alpha"] == 3
        playground.set_alpha("2")
        page.fill("#alpha-number", "3.5")
        assert page.get_attribute("#alpha-number", "aria-invalid") == "true"
        assert playground.text("#alpha-note") == "3.5 is outside −3 to 3, which this server accepts."
        assert "alpha=2&" in playground.curl()
        page.press("#alpha-number", "Tab")
        assert page.input_value("#alpha-number") == "2"
        assert playground.text("#alpha-note") == "3.5 is outside −3 to 3, which this server accepts; α stays 2."
        page.fill("#alpha-number", "3")
        page.press("#alpha-number", "ArrowUp")
        assert page.input_value("#alpha-number") == "3"
        assert (page.get_attribute("#alpha", "min"), page.get_attribute("#alpha", "max")) == ("-2", "3")


def test_alpha_in_the_address_beyond_the_limit_is_reported(opened: Opened, narrow_url: str) -> None:
    with opened(narrow_url) as playground:
        playground.open("model=wide&alpha=7")
        assert "α “7” in the address is outside −3 to 3, which this server accepts" in playground.text("#page-error")
        assert playground.page.input_value("#alpha-number") == "0"


def test_text_typed_as_alpha_is_put_back_with_a_sentence(opened: Opened, url: str) -> None:
    with opened(url) as playground:
        page = playground.page
        playground.open(f"{TRUCK}&alpha=0.5")
        page.fill("#alpha-number", "much")
        assert playground.text("#alpha-note").startswith("“much” is neither a number nor one of head, ")
        page.press("#alpha-number", "Tab")
        assert page.input_value("#alpha-number") == "0.5"
        assert playground.text("#alpha-note").endswith("; α stays 0.5.")
        assert playground.text("#live").endswith("; α stays 0.5.")
        playground.set_alpha("1")
        assert "much" not in playground.text("#alpha-note")


def test_no_change_is_written_as_zero(opened: Opened, url: str) -> None:
    with opened(url) as playground:
        playground.open("model=cifar10-lt&alpha=0")
        gains = playground.page.locator("#figures .gain").all_inner_texts()
        assert set(gains) == {"0.0"}


@pytest.mark.parametrize(
    ("model", "samples"), [("cifar10-lt", ["truck", "ship", "cat"]), ("cifar100-lt", ["sunflower", "rocket", "bowl"])]
)
def test_a_sample_shows_a_class_of_the_model(opened: Opened, url: str, model: str, samples: list[str]) -> None:
    with opened(url) as playground:
        playground.open(f"model={model}")
        offered = playground.page.eval_on_selector_all("#samples button", "(all) => all.map((b) => b.dataset.sample)")
        assert offered == samples
        for sample in samples:
            playground.sample(sample)
            assert playground.page.get_attribute(f"[data-sample={sample}]", "aria-pressed") == "true"


def test_a_model_that_knows_no_sample_offers_none(opened: Opened, narrow_url: str) -> None:
    with opened(narrow_url) as playground:
        playground.open("model=wide")
        assert playground.page.locator("#samples button:visible").count() == 0
        assert playground.text("#drop-hint") == "Drop a picture here, paste one, or choose a file."
