"""Keys and content security policies in Chromium, for the playground and /docs."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page

from service.keys import new_key
from tests.service.browser import CHROMIUM, ROOT, Opened, chromium, opener, server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: keys are not typed into a page"),
]
KEY, LINE = new_key("web", ["predict"])
BOTH, BOTH_LINE = new_key("both", ["predict", "tune"])
VIOLATIONS = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => violations.push([event.violatedDirective, event.blockedURI]));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def opened(browser: Browser) -> Opened:
    return opener(browser)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Return the server's key file."""
    file = tmp_path / "keys"
    file.write_text(f"{LINE}\n{BOTH_LINE}\n")
    return file


@pytest.fixture
def url(tmp_path: Path, keys: Path) -> Iterator[str]:
    database = f"sqlite:///{tmp_path}/longtail.db"
    with server(ROOT / "models" / "shipped", database, "--api-keys-file", str(keys)) as address:
        yield address


def give(page: Page, key: str) -> None:
    page.fill("#key", key)
    page.press("#key", "Enter")


def test_the_page_asks_for_a_key_and_then_continues(opened: Opened, url: str) -> None:
    with opened(url, expected=(401,)) as playground:
        page = playground.page
        page.add_init_script(VIOLATIONS)
        page.goto(f"{url}/#model=cifar10-lt&image=cat")
        page.wait_for_selector("#key-form")
        assert "This server requires an API key" in page.inner_text("#key-form")
        give(page, "two words")
        assert "This cannot be a key" in page.inner_text("#key-form .error")
        give(page, "lt_wrong")
        page.wait_for_selector("#key-form .error:has-text('does not accept this key')")
        give(page, KEY)
        page.wait_for_selector("#bars li[data-index]")
        assert page.locator("#key-form").count() == 0
        assert playground.words()["model"] == "cifar10-lt"
        assert KEY not in page.url + page.content()
        assert '-H "Authorization: Bearer $KEY"' in playground.curl()
        assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
        assert page.evaluate("violations") == []


def test_a_key_lasts_as_long_as_its_tab_and_can_be_forgotten(opened: Opened, url: str) -> None:
    with opened(url, expected=(401,)) as playground:
        page = playground.page
        page.goto(f"{url}/")
        give(page, KEY)
        page.wait_for_selector("#scale span")
        page.reload()
        page.wait_for_selector("#scale span")
        page.click("#forget-key")
        page.wait_for_selector("#key-form")
        assert page.evaluate("sessionStorage.length") == 0


def test_a_missing_scope_shows_the_message_and_a_removed_key_is_asked_for_again(
    opened: Opened, url: str, keys: Path
) -> None:
    with opened(url, expected=(401, 403)) as playground:
        page = playground.page
        page.goto(f"{url}/#model=cifar10-lt&image=cat")
        give(page, KEY)
        page.wait_for_selector("#bars li[data-index]")
        text = page.evaluate(
            "import('./playground/api.js').then((api) => api.savePoint('cifar10-lt', 'x', { alpha: 1 })).catch(String)"
        )
        assert "the scope tune" in text
        keys.write_text(f"{BOTH_LINE}\n# {'-' * 20}\n")
        while httpx.get(f"{url}/v1/models", headers={"X-API-Key": KEY}).status_code == 200:
            pass  # until the server has read the file again
        page.click("[data-sample=ship]")
        page.wait_for_selector("#key-form .error")
        give(page, BOTH)
        page.wait_for_selector("#bars li[data-index]")
        assert page.inner_text("#picture-name").startswith("ship")


def test_the_documentation_page_works_with_a_key_and_without_inline_scripts(opened: Opened, url: str) -> None:
    with opened(url, expected=(401,)) as playground:
        page = playground.page
        page.add_init_script(VIOLATIONS)
        page.goto(f"{url}/docs")
        page.click("button.authorize")
        page.fill(".auth-container input", KEY)
        page.click(".auth-container button.authorize")
        page.click(".auth-container button.btn-done, .close-modal")
        block = page.locator(".opblock").filter(has=page.locator('[data-path="/v1/models"]'))
        block.locator(".opblock-summary-control").click()
        block.locator("button.execute").click()
        block.locator(".live-responses-table .response-col_status:has-text('200')").wait_for()
        assert "cifar10-lt" in block.inner_text()
        classify = page.locator(".opblock").filter(has=page.locator('[data-path="/v1/models/{model}/classify"]'))
        classify.locator(".opblock-summary-control").click()
        classify.locator(".opblock-body").wait_for()
        assert page.evaluate("violations") == []
        page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))")
        page.wait_for_function("violations.length > 0")
        assert page.evaluate("window.ran") is None
        known = (
            "Content Security Policy",
            "Could not find component",
        )  # the violation caused above, and a message of Swagger UI
        playground.problems = [each for each in playground.problems if not any(words in each for words in known)]
