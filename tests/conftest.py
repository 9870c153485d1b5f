"""Fixtures for all tests."""

from pathlib import Path

import pytest
from hypothesis import settings

from models.bundle import Bundle, load_bundle
from tests.tiny_bundle import write_tiny_bundle

settings.register_profile("longtail", deadline=None)  # the tests make no claim about time per example
settings.load_profile("longtail")


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a small, valid, runnable bundle, ROOT/tiny/1. Tests share it, so they must not change it."""
    root: Path = tmp_path_factory.mktemp("repository")
    return load_bundle(write_tiny_bundle(root))
