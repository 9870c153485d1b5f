"""A text list, one `path label` a line, as ImageNet-LT and Places-LT come: `train/n01440764/n01440764_190.JPEG 0`.

The label is what follows the last tab, or the last blank where a line has no tab: a number or a name.
"""

from pathlib import Path

from training.data.lists.picture_list import PictureList, Row
from training.data.lists.text_lines import Faults, read_lines, read_names

__all__ = ["read_text_list"]


def read_text_list(path: Path, class_names: Path | None = None) -> PictureList:
    """Read the list.

    Raises:
        DataError: lines are not `path label`; as `read_lines` and `read_names`.

    """
    rows: list[Row] = []
    with Faults() as faults:
        for number, line in enumerate(read_lines(path), 1):
            text = line.strip()
            if not text:
                continue
            words = text.rsplit("\t" if "\t" in text else None, 1)
            if len(words) < 2:
                wrong = f"{text[:80]!r} has no label; write 'path label', such as 'cat/1.jpg 0'"
                faults.add(f"{path}: line {number}: {wrong}")
                continue
            rows.append(Row(number, words[0].rstrip(), words[1].strip()))
    return PictureList(path, rows, classes=read_names(class_names) if class_names else None)
