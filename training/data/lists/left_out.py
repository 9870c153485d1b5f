"""What a list names but does not use: pictures without a label, pictures of other splits, and a second split column."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from models.labelled_paths import counted, is_unlabelled
from models.sentences import first_few
from training.data.lists.text_lines import Faults
from training.data.split_names import SPLITS, split_of
from training.errors import DataError

__all__ = ["UnusedSplitColumns", "leave_out_unlabelled", "note_other_splits"]

MIN_LIKENESS = 0.8  # of a misspelt split, such as trian


def leave_out_unlabelled(
    labels: Sequence[str], places: Iterable[str], classes: Sequence[str]
) -> tuple[list[bool], list[str]]:
    """Find the pictures whose label says that they have none, such as `_unlabeled`.

    Args:
        labels: the label of every picture, a name or a class number.
        places: the place of every picture in the list, for messages.
        classes: the names of the classes by number, if the list has them.

    Returns:
        For each picture, whether it has a label; and notes that count those that have none.

    Raises:
        DataError: a label differs only in case from such a name.

    """
    without = {str(number) for number, name in enumerate(classes) if is_unlabelled(name)}
    with Faults() as faults:
        for label, place in zip(labels, places, strict=True):
            if is_unlabelled(label.lower()) and not is_unlabelled(label):
                faults.add(
                    f"{place}: label {label!r} differs only in case from {label.lower()!r}, which leaves a picture "
                    f"out; write {label.lower()!r}, or another name if it is a class"
                )
    labelled = [not is_unlabelled(label) and label not in without for label in labels]
    found = Counter(label for label, kept in zip(labels, labelled, strict=True) if not kept)
    if not found:
        return labelled, []
    names = first_few(f"{count:,} with {label!r}" for label, count in sorted(found.items()))
    return labelled, [f"left out {counted(found.total())} without a label: {names}"]


def note_other_splits(splits: Iterable[str]) -> list[str]:
    """Return a note that counts the pictures of other splits than train, val and test.

    Raises:
        DataError: a split seems to be one of these, misspelt.

    """
    others = Counter(split for split in splits if not split_of(split))
    for split, count in others.items():
        if meant := _misspelt(split.strip().lower()):
            raise DataError(
                f"unknown split {split[:40]!r} of {counted(count)}: write {meant!r} if that is meant, or a name "
                "that is less similar, to leave them out"
            )
    if not others:
        return []
    shown = ", ".join(
        f"{value[:40]!r}: {count:,}" if value.strip() else f"without a split: {count:,}"
        for value, count in others.most_common(5)
    )
    more = f" and {len(others) - 5:,} more splits" if len(others) > 5 else ""
    return [f"pictures of other splits are not used ({shown}{more})"]


def _misspelt(split: str) -> str:
    """Return the split that a name seems to misspell, "" if it is another name.

    >>> [_misspelt(split) for split in ("trian", "tset", "tests", "trainval", "test2", "extra")]
    ['train', 'test', 'test', '', '', '']
    """
    if not split.isalpha():
        return ""
    close = get_close_matches(split, SPLITS, 1, MIN_LIKENESS)
    return next((name for name in SPLITS if name in close or sorted(name) == sorted(split)), "")


class UnusedSplitColumns:
    """Columns that hold only splits, as `subset` of train and test, though another column or none is the split's."""

    def __init__(self, columns: Iterable[str], flag: str) -> None:
        """Watch these columns; `flag` is the option that names the column to use."""
        self._values: dict[str, set[str]] = {column: set() for column in columns}
        self._flag = flag

    @property
    def watching(self) -> bool:
        """Whether a column may still be one."""
        return bool(self._values)

    def see(self, row: Mapping[str, object]) -> None:
        """Take in one row: column -> value."""
        for column in tuple(self._values):
            value = row.get(column)
            if isinstance(value, str) and (split := split_of(value)):
                self._values[column].add(split)
            else:
                del self._values[column]

    @property
    def notes(self) -> list[str]:
        """A note on each column that holds two splits or more."""
        return [
            f"{column[:40]!r} holds {', '.join(sorted(found))} but is not used; {self._flag} {column[:40]!r} uses it"
            for column, found in self._values.items()
            if len(found) > 1
        ]
