"""What every folder of tests may ask for."""

from pathlib import Path

import pytest
from hypothesis import settings

from models.bundle import Bundle, load_bundle
from tests.tiny_bundle import write_tiny_bundle

settings.register_profile("longtail", deadline=None)  # how busy a machine is, is no claim of ours
settings.load_profile("longtail")


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A small, valid, runnable bundle, root/tiny/1; shared, so read only."""
    root: Path = tmp_path_factory.mktemp("repository")
    return load_bundle(write_tiny_bundle(root))
