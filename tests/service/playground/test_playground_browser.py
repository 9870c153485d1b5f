"""The playground in Chromium: everything that it shows is compared with the API's answers."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Route

from tests.service.browser import (
    CHROMIUM,
    HOSTILE,
    IMAGES,
    ROOT,
    Opened,
    Playground,
    chromium,
    classify,
    get,
    opener,
    path_of,
    server,
    write_wide_bundle,
)
from tests.tiny_bundle import write_tiny_bundle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="NOT tested, there is no Chromium"),
]
WEIGHTS = {"airplane": 9, "automobile": 1, "bird": 1, "cat": 1, "deer": 1, "dog": 1, "frog": 1, "horse": 1, "ship": 1}
WEIGHTS |= {"truck": 0.25}
UNIFORM = "&prior=uniform"
PRIORS = {
    "": {},
    UNIFORM: {"prior": "uniform"},
    "&prior=custom&weights=0:9,9:0.25": {"prior": json.dumps(WEIGHTS)},
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def opened(browser: Browser) -> Opened:
    return opener(browser)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The shipped models and one with a thousand classes of hostile names, with an empty database."""
    root = tmp_path_factory.mktemp("models")
    shutil.copytree(ROOT / "models" / "shipped", root, dirs_exist_ok=True)
    write_wide_bundle(root)
    write_tiny_bundle(root, "exempt", exempt_class=2)
    with server(root, f"sqlite:///{tmp_path_factory.mktemp('data')}/longtail.db") as address:
        yield address


@pytest.fixture
def playground(opened: Opened, url: str) -> Iterator[Playground]:
    with opened(url) as page:
        yield page


@pytest.mark.parametrize(
    ("model", "words"), [*(("cifar10-lt", words) for words in PRIORS), ("cifar100-lt", ""), ("cifar100-lt", UNIFORM)]
)
def test_bars_show_what_classify_answers_at_every_alpha(playground: Playground, model: str, words: str) -> None:
    playground.open(f"model={model}&image=cat{words}")
    playground.page.wait_for_selector("#bars li[data-index]")
    for alpha in (-1.5, 0, 0.4, 1.25, 3.2, 40):
        playground.set_alpha(str(alpha))
        ours = classify(playground.url, model, "cat.webp", alpha=alpha, top_k=8, **PRIORS[words])
        shown = playground.bars()
        assert len(shown) == 8
        assert [row[:2] for row in shown] == [(one["name"], one["group"]) for one in ours]
        for (_, _, share), one in zip(shown, ours, strict=True):
            assert float(share.removesuffix(" %")) == pytest.approx(100 * one["probability"], abs=0.06)


@pytest.mark.parametrize("words", PRIORS)
@pytest.mark.parametrize("image", ["truck", "cat"])
def test_the_band_flips_where_the_exact_path_does(playground: Playground, image: str, words: str) -> None:
    playground.open(f"model=cifar10-lt&image={image}{words}")
    playground.page.wait_for_selector("#band .part")
    path = path_of(playground.url, "cifar10-lt", f"{image}.webp", **PRIORS[words])
    inside = [step for step in path if (step["to"] or 99) > -2 and (step["from"] or -99) < 5]
    parts = playground.page.eval_on_selector_all("#band .part", "(parts) => parts.map((p) => ({...p.dataset}))")
    flips = playground.page.eval_on_selector_all("#flips .flip", "(flips) => flips.map((f) => +f.dataset.alpha)")
    assert [int(part["index"]) for part in parts] == [step["index"] for step in inside]
    assert flips == pytest.approx([step["from"] for step in inside if (step["from"] or -99) > -2], abs=1e-4)
    sentence = playground.text("#path-words")
    assert re.findall(r"(\S+) \((?:many|medium|few)\)", sentence) == [step["name"] for step in path]


def test_slider_line_points_and_band_lie_on_one_axis(playground: Playground) -> None:
    page = playground.page
    playground.open("model=cifar10-lt&image=truck")
    page.wait_for_selector("#flips .flip")
    page.click("[data-name=tail] span")
    playground.frame()
    plot = page.locator("#band").bounding_box()
    alpha = get(playground.url, "/v1/models/cifar10-lt")
    tail = alpha["operating_points"]["tail"]["alpha"]
    assert plot is not None
    across = plot["x"] + plot["width"] * (tail + 2) / 7
    flag = page.locator("[data-name=tail]").bounding_box()
    assert flag is not None
    line = page.evaluate("parseFloat(getComputedStyle(document.getElementById('instrument')).getPropertyValue('--x'))")
    assert flag["x"] == pytest.approx(across, abs=1.5)  # px
    assert plot["x"] + plot["width"] * line / 100 == pytest.approx(across, abs=1)
    slider = page.locator("#alpha").bounding_box()
    assert slider is not None
    assert (slider["x"] + 12, slider["width"] - 24) == pytest.approx((plot["x"], plot["width"]), abs=1)


def test_the_keyboard_moves_alpha(playground: Playground) -> None:
    page = playground.page
    playground.open("model=cifar10-lt&image=truck")
    page.focus("#alpha")
    for key, expected in [
        ("ArrowRight", "0.01"), ("Shift+ArrowRight", "0.11"), ("PageUp", "0.61"), ("PageDown", "0.11"),
        ("ArrowLeft", "0.1"), ("Home", "−2"), ("End", "5"),
    ]:  # fmt: skip
        page.keyboard.press(key)
        playground.frame()
        assert page.input_value("#alpha-number") == expected
    page.focus("[data-name=balanced]")
    page.keyboard.press("Enter")
    playground.frame()
    assert page.get_attribute("[data-name=balanced]", "aria-pressed") == "true"
    assert playground.words()["alpha"] == "balanced"


def test_the_number_field_takes_any_number_and_a_name(playground: Playground) -> None:
    page = playground.page
    playground.open("model=cifar10-lt&image=truck")
    playground.set_alpha("37.5")
    assert "outside the slider’s range" in playground.text("#alpha-note")
    playground.set_alpha("−1,5")
    assert playground.words()["alpha"] == "-1.5"
    playground.set_alpha("tail")
    assert page.get_attribute("[data-name=tail]", "aria-pressed") == "true"
    page.fill("#alpha-number", "many")
    assert page.get_attribute("#alpha-number", "aria-invalid") == "true"
    page.press("#alpha-number", "Tab")
    playground.frame()
    assert playground.words()["alpha"] == "tail"


def test_a_press_on_the_band_sets_alpha(playground: Playground) -> None:
    playground.open("model=cifar10-lt&image=truck")
    band = playground.page.locator("#band")
    box = band.bounding_box()
    assert box is not None
    band.click(position={"x": box["width"] * 6 / 7, "y": 5})  # scrolls if the band is outside the window
    playground.frame()
    assert float(playground.page.input_value("#alpha-number")) == pytest.approx(4, abs=0.02)


def test_moving_alpha_sends_no_request_and_tells_a_screen_reader_once(playground: Playground) -> None:
    page = playground.page
    playground.open("model=cifar10-lt&image=truck")
    page.wait_for_selector("#bars li[data-index]")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/v1/" in request.url else None)
    page.focus("#alpha")
    for _ in range(40):
        page.keyboard.press("Shift+ArrowRight")
    page.wait_for_selector("#live:has-text('α 4: truck')", state="attached")
    assert asked == []
    assert re.fullmatch(r"α 4: truck, \d+\.\d %, medium", playground.text("#live"))


def test_the_figures_are_read_from_the_curve_at_the_current_alpha(playground: Playground) -> None:
    playground.open("model=cifar10-lt")
    playground.set_alpha("1")
    curve = get(playground.url, "/v1/models/cifar10-lt/alpha/curve")
    nearest = min(range(len(curve["alphas"])), key=lambda i: abs(curve["alphas"][i] - 1))
    for name in ("overall", "many", "medium"):
        shown = playground.text(f"#figures [data-figure={name}] .value")
        assert float(shown.removesuffix(" %")) == pytest.approx(100 * curve["figures"][name][nearest], abs=0.6)
    assert playground.page.locator("#curve .dot").count() == 3


def test_a_url_restores_the_whole_state(playground: Playground) -> None:
    page = playground.page
    playground.open("model=cifar10-lt")
    playground.sample("ship")
    page.check("#prior input[value=custom]")
    page.fill("#prior-filter", "medium")
    page.fill("#prior-all", "4")
    page.click("text=Set all listed")
    page.click("[data-name=tail] span")
    words = playground.words()
    bars = playground.bars()
    assert words == {
        "model": "cifar10-lt", "alpha": "tail", "prior": "custom", "weights": "8:4,9:4", "image": "ship",
    }  # fmt: skip
    page.reload()
    page.wait_for_selector("#bars li[data-index]")
    playground.frame()
    assert playground.bars() == bars
    assert page.is_checked("#prior input[value=custom]")
    assert page.input_value("[aria-label='weight of ship']") == "4"


def test_the_curl_command_gives_the_same_answer(playground: Playground) -> None:
    playground.open("model=cifar10-lt&alpha=1.25&image=truck&prior=custom&weights=0:9,9:0.25")
    playground.page.wait_for_selector("#bars li[data-index]")
    done = subprocess.run(["sh", "-c", playground.curl()], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = json.loads(done.stdout)["results"][0]["predictions"][0]["classes"]
    assert [row[0] for row in playground.bars()] == [one["name"] for one in ours]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("model=missing", "this server has no model “missing”"),
        ("model=cifar10-lt&alpha=much", "α “much” in the address is neither a number nor an operating point"),
        ("model=cifar10-lt&prior=custom&weights=99:2", "the prior in the address does not fit this model"),
        ("model=cifar10-lt&prior=custom&weights=1:-2", "the prior in the address does not fit this model"),
    ],
)
def test_a_url_with_unusable_settings_is_reported(playground: Playground, words: str, sentence: str) -> None:
    playground.open(words)
    assert sentence in playground.text("#page-error")


def test_an_unusable_weight_is_reported_and_changes_nothing(playground: Playground) -> None:
    playground.open("model=cifar10-lt&image=truck&prior=custom")
    playground.page.wait_for_selector("#bars li[data-index]")
    before = playground.bars()
    playground.page.fill("[aria-label='weight of cat']", "-3")
    assert "The weight of cat is “-3”; enter a number above 0." in playground.text("#prior-editor")
    assert playground.bars() == before


def test_a_file_that_is_not_a_picture_gets_the_servers_message(opened: Opened, url: str) -> None:
    with opened(url, expected=(413, 415, 422)) as playground:
        playground.open("model=cifar10-lt")
        broken = {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}
        playground.page.set_input_files("#file", broken)
        playground.page.wait_for_selector("#picture-error .error")
        assert "image" in playground.text("#picture-error")
        playground.page.set_input_files("#file", broken | {"buffer": b"\0" * 21_000_000})
        playground.page.wait_for_selector("#picture-error:has-text('exceeds 20 MB')")
        playground.sample("truck")
        assert playground.text("#picture-error") == ""


def test_a_late_answer_does_not_replace_a_later_picture(playground: Playground) -> None:
    page = playground.page
    playground.open("model=cifar10-lt")
    held: list[Route] = []
    page.route("**/classify*", lambda route: hold(held, route), times=1)
    page.set_input_files("#file", IMAGES / "ship.webp")
    page.wait_for_selector("#bars:has-text('Classifying')")
    page.set_input_files("#file", IMAGES / "cat.webp")
    page.wait_for_selector("#bars li[data-index]")
    late = held[0].fetch()
    held[0].fulfill(response=late)
    page.wait_for_load_state("networkidle")
    playground.frame()
    assert playground.text("#picture-name") == "cat.webp"
    assert playground.bars()[0][0] == "cat"


def hold(held: list[Route], route: Route) -> None:
    held.append(route)


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_picture_can_be_dropped_and_pasted(playground: Playground, kind: str) -> None:
    playground.open("model=cifar10-lt")
    data = list((IMAGES / "ship.webp").read_bytes())
    playground.page.evaluate(
        """([kind, bytes]) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "my ship.webp", { type: "image/webp" }));
          const event = kind === "drop"
            ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
          document.getElementById("drop").dispatchEvent(event);
        }""",
        [kind, data],
    )
    playground.page.wait_for_selector("#bars li[data-index]")
    playground.set_alpha("1")
    assert playground.bars()[0][0] == "ship"
    playground.page.wait_for_selector("#curl:has-text(\"'@my ship.webp'\")")


def test_a_thousand_classes_with_hostile_names_are_only_text(playground: Playground) -> None:
    page = playground.page
    playground.open("model=wide&prior=custom")
    page.set_input_files(
        "#file", {"name": "<b>$(id)'.webp", "mimeType": "image/webp", "buffer": (IMAGES / "cat.webp").read_bytes()}
    )
    page.wait_for_selector("#bars li[data-index]")
    for alpha in ("-1", "0.5", "3"):
        playground.set_alpha(alpha)
        ours = classify(playground.url, "wide", "cat.webp", alpha=float(alpha), top_k=8, prior="uniform")
        assert [row[0].strip() for row in playground.bars()] == [one["name"].strip() for one in ours]
    assert page.title() == "Longtail playground"
    assert page.locator("main img:not(.sample img)").count() == 0
    assert page.locator("#class-list option").count() <= 201
    assert page.locator(".weights tbody tr").count() <= 60
    page.fill("#class-filter", "🐈 997")
    assert page.locator("#class-list option").all_inner_texts() == [f"{HOSTILE}997 (few)"]
    assert "'\\''" in playground.curl()


def test_an_exempt_class_keeps_its_probability_and_there_is_no_path(playground: Playground) -> None:
    playground.open("model=exempt&image=truck")
    playground.page.wait_for_selector("#bars li[data-index]")
    for alpha, prior in (("0", "train"), ("3", "train"), ("3", "uniform")):
        playground.page.check(f"#prior input[value={prior}]")
        playground.set_alpha(alpha)
        ours = classify(playground.url, "exempt", "truck.webp", alpha=float(alpha), top_k=5, prior=prior)
        assert [row[0] for row in playground.bars()] == [one["name"] for one in ours]
        assert [row[2] for row in playground.bars()] == [f"{100 * one['probability']:.1f} %" for one in ours]
    assert playground.text("#path-note").startswith("This model exempts class 2 from α")
    assert playground.page.locator("#band .part").count() == 0


def test_the_skip_link_leads_to_alpha_and_changes_nothing(playground: Playground) -> None:
    playground.open("model=cifar100-lt&alpha=tail&image=cat")
    playground.page.wait_for_selector("#bars li[data-index]")
    playground.page.keyboard.press("Tab")
    playground.page.keyboard.press("Enter")
    assert playground.page.evaluate("document.activeElement.id") == "alpha"
    assert playground.words() == {"model": "cifar100-lt", "alpha": "tail", "image": "cat"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_everything_without_scrolling_sideways(opened: Opened, url: str, scheme: str) -> None:
    for model in ("cifar10-lt", "cifar100-lt", "wide"):
        with opened(url, width=360, color_scheme=scheme, expected=(404,)) as playground:
            playground.open(f"model={model}&image=truck&prior=custom&alpha=0.7")
            playground.page.wait_for_selector("#bars li[data-index]")
            assert len(playground.bars()) == 8


def test_reduced_motion_stops_transitions(opened: Opened, url: str) -> None:
    with opened(url, reduced_motion="reduce") as playground:
        playground.open("model=cifar10-lt")
        seconds = playground.page.evaluate("getComputedStyle(document.getElementById('choose')).transitionDuration")
        assert seconds in {"0s", ""}
