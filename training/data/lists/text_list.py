"""Text lists with one `path label` a line, the format of ImageNet-LT and Places-LT.

    train/n01440764/n01440764_190.JPEG 0

The label follows the last tab, or the last blank if the line has no tab. It is a class number or a class name.
"""

from pathlib import Path

from training.data.lists.picture_list import PictureList, Row
from training.data.lists.text_lines import Faults, read_lines, read_names

__all__ = ["read_text_list"]


def read_text_list(path: Path, class_names: Path | None = None) -> PictureList:
    """Read a text list.

    Args:
        path: of the list.
        class_names: a file with the names of the classes, one a line.

    Raises:
        DataError: a line is not `path label`; see also `read_lines` and `read_names`.

    """
    rows: list[Row] = []
    with Faults() as faults:
        for number, line in enumerate(read_lines(path), 1):
            text = line.strip()
            if not text:
                continue
            words = text.rsplit("\t" if "\t" in text else None, 1)
            if len(words) < 2:
                faults.add(
                    f"{path}: line {number}: no label in {text[:80]!r}; write 'path label', such as 'cat/1.jpg 0'"
                )
                continue
            rows.append(Row(number, words[0].rstrip(), words[1].strip()))
    return PictureList(path, rows, classes=read_names(class_names) if class_names else None)
