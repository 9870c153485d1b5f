"""Settings come from the environment and flags; misspelt names and invalid values are refused."""

import argparse

import pytest

from service.setting_groups import GROUPS
from service.settings import Settings, SettingsError


def test_flags_win_over_the_environment() -> None:
    settings = Settings.read({"LONGTAIL_PORT": "9000", "LONGTAIL_HOST": "127.0.0.2", "PATH": "x"}, {"port": "9001"})
    assert (settings.port, settings.host) == (9001, "127.0.0.2")


def test_a_misspelt_setting_is_refused_with_a_suggestion() -> None:
    with pytest.raises(
        SettingsError, match=r"unknown setting LONGTAIL_MAX_BODY_MBS; did you mean LONGTAIL_MAX_BODY_MB\?"
    ):
        Settings.read({"LONGTAIL_MAX_BODY_MBS": "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "high"),
        ("port", "70000"),
        ("workers", "0"),
        ("max_alpha", "nan"),
        ("device", "tpu"),
        ("max_pixels", "-1"),
    ],
)
def test_an_invalid_value_is_refused_with_its_setting(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"LONGTAIL_{name.upper()} .*{value}"):
        Settings.read({f"LONGTAIL_{name.upper()}": value})


def test_every_setting_is_a_flag_with_a_description() -> None:
    parser = argparse.ArgumentParser()
    Settings.add_flags(parser)
    text = parser.format_help()
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert field.description


def test_processes_started_from_this_one_get_the_same_settings() -> None:
    settings = Settings(port=9000, max_body_mb=1.5, device="cpu")
    assert Settings.read(settings.as_environment()) == settings


def test_every_setting_is_in_one_group_of_the_help() -> None:
    assert [name for group in GROUPS.values() for name in group.model_fields] == list(Settings.model_fields)
    parser = argparse.ArgumentParser()
    Settings.add_flags(parser)
    headings = {group.title: [action.dest for action in group._group_actions] for group in parser._action_groups}
    assert {heading: headings[heading] for heading in GROUPS} == {
        heading: list(group.model_fields) for heading, group in GROUPS.items()
    }
    assert list(GROUPS) == ["network", "models", "computing", "limits", "storage", "access", "ending and log"]
    assert max(len(group.model_fields) for group in GROUPS.values()) <= 12
