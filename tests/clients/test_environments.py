"""The environments themselves: made once, made again for other pins, and a client that cannot be had skips aloud."""

from pathlib import Path

import pytest

from tests.clients import environments

pytestmark = pytest.mark.clients


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "CLIENTS", tmp_path)


def test_an_environment_is_made_once_and_again_when_its_pins_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(environments.PYTHON, "tiny", ("iniconfig==2.0.0",))
    place = environments.python_environment("tiny")
    (place / "mine").touch()
    assert (environments.python_environment("tiny") / "mine").exists()
    monkeypatch.setitem(environments.PYTHON, "tiny", ("iniconfig==2.1.0",))
    assert not (environments.python_environment("tiny") / "mine").exists()
    assert list(place.glob("lib/*/site-packages/iniconfig-2.1.0.dist-info"))


def test_a_client_that_cannot_be_had_skips_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(environments.PYTHON, "tiny", ("iniconfig==0.0.77",))
    with pytest.raises(pytest.skip.Exception, match=r"tiny: cannot be installed: .*iniconfig==0.0.77"):
        environments.python_environment("tiny")


def test_packages_from_npm_have_a_folder_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(environments.NODE, "tiny", ("is-number@7.0.0",))
    place = environments.node_environment("tiny")
    assert (place / "node_modules" / "is-number" / "package.json").is_file()
    (place / "mine").touch()
    assert (environments.node_environment("tiny") / "mine").exists()
