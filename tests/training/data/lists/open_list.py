"""Opening a list of pictures, for the tests of every list format."""

from pathlib import Path
from typing import Any

import pytest

from training.data.data_set import Splits, open_splits
from training.data.options import DataOptions
from training.errors import DataError

__all__ = ["open_list", "refusal"]


def open_list(root: Path, name: str, content: str | bytes, **options: Any) -> Splits:
    """Write the list and open it."""
    file = root / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_splits(DataOptions(data=file, **options))


def refusal(root: Path, name: str, content: str | bytes, **options: Any) -> str:
    """Write the list, check that opening it fails, and return the message, which names the file."""
    with pytest.raises(DataError) as caught:
        open_list(root, name, content, **options)
    assert str(root / name) in str(caught.value) or name in str(caught.value)
    return str(caught.value)
