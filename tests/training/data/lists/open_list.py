"""What a list of pictures comes to, or the sentence it is refused with: for the tests of every format."""

from pathlib import Path
from typing import Any

import pytest

from training.data.data_set import Splits, open_splits
from training.data.options import DataOptions
from training.errors import DataError

__all__ = ["opened", "refused"]


def opened(root: Path, name: str, content: str | bytes, **options: Any) -> Splits:
    """Write the list and open it."""
    file = root / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_splits(DataOptions(data=file, **options))


def refused(root: Path, name: str, content: str | bytes, **options: Any) -> str:
    """Write the list and return the sentence it is refused with, which names the file."""
    with pytest.raises(DataError) as caught:
        opened(root, name, content, **options)
    assert str(root / name) in str(caught.value) or name in str(caught.value)
    return str(caught.value)
