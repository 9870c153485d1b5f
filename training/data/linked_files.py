"""Pictures that links reach twice: they count once, and are refused if they have two labels or lie in two splits."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from models.labelled_paths import counted
from training.data.labelled_files import LabelledFiles
from training.data.picture_store import PictureStore
from training.errors import DataError

__all__ = ["count_once"]


def count_once(
    path: Path, parts: dict[str, LabelledFiles], store: PictureStore
) -> tuple[dict[str, LabelledFiles], list[str]]:
    """Return the parts without pictures that are the same file as an earlier one, and a note that counts those.

    Args:
        path: of the data, for messages.
        parts: split -> pictures.
        store: where the pictures are.

    Raises:
        DataError: a file has two labels or lies in two splits.

    """
    if not store.has_links():
        return parts, []
    first: dict[str, tuple[str, str, str]] = {}  # location -> split, class, name
    kept: dict[str, LabelledFiles] = {}
    for split, files in parts.items():
        new = np.zeros(len(files), dtype=bool)
        for index, (name, label) in enumerate(zip(files.names, files.labels.tolist(), strict=True)):
            here = split, files.classes[label], name
            there = first.setdefault(store.location(name), here)
            if here[:2] != there[:2]:
                what = "splits" if here[0] != there[0] else "classes"
                raise DataError(
                    f"{path}: {name} and {there[2]} are the same file, reached by a link, but lie in two {what}; "
                    "remove one of them"
                )
            new[index] = here == there
        kept[split] = replace(files.part(new))
    again = sum(map(len, parts.values())) - sum(map(len, kept.values()))
    return kept, [f"{counted(again)} reached again by a link count{'s' if again == 1 else ''} once"] if again else []
