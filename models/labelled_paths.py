"""Labelled pictures by where they lie: the folder a picture lies in is its class, and a folder above it may be a split.

The same names hold for training data, and for the folders and archives that alpha is chosen on. Every file of the data
has one fate: it is a picture that is used, it is left out with a reason and a count, or the data are refused.
"""

import re
import stat
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from zipfile import ZipInfo

from models.errors import LabelledPathsError
from models.sentences import first_few

__all__ = [
    "IMAGE_SUFFIXES",
    "SortedFiles",
    "check_split_case",
    "check_unlabelled_case",
    "class_folder",
    "counted",
    "hint_at_case",
    "holds_any_class",
    "is_hidden",
    "is_picture",
    "is_unlabelled",
    "is_zip_link",
    "looks_like_split",
    "names_split",
    "note_unlabelled",
    "shown",
    "sort_files",
    "split_of_folder",
]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
MAX_KINDS_SHOWN = 5
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_SUGGESTED = _SPLITS | {"tests": "test"} | dict.fromkeys(("eval", "evaluation", "dev", "holdout"), "val or test")
_FILLER = "(?:images?|imgs?|pictures?|pics?|photos?|files?|folders?|data|dataset|sets?|split|part)?"
_LIKE_A_SPLIT = re.compile(f"{_FILLER}({'|'.join(_SUGGESTED)}){_FILLER}")
_CONTENTS = frozenset(
    {
        *("annotation", "annotations", "bboxes", "images", "imagesets", "img", "imgs", "jpegimages", "labels", "masks"),
        *("pictures", "segmentationclass", "segmentationobject"),
    }
)
# FiftyOne and Datumaro export pictures without a label into folders of these names.
_UNLABELLED = frozenset({"_unlabeled", "_unlabelled", "unlabeled", "unlabelled", "no_label"})
_SYSTEM_FOLDERS = frozenset({"__MACOSX", "@eaDir", "lost+found"})  # of macOS' Finder, Synology's servers and ext4


def is_picture(path: PurePosixPath) -> bool:
    """Return whether a file counts as a picture; hidden files do not.

    >>> [is_picture(PurePosixPath(name)) for name in ("cat/1.JPG", "cat/.1.jpg", "__MACOSX/cat/1.jpg", "cat/notes.txt")]
    [True, False, False, False]
    """
    return not is_hidden(path) and path.suffix.lower() in IMAGE_SUFFIXES


def is_hidden(path: PurePosixPath) -> bool:
    """Return whether a file or folder is hidden, or belongs to the operating system."""
    return any(part.startswith(".") or part in _SYSTEM_FOLDERS for part in path.parts)


def is_zip_link(entry: ZipInfo) -> bool:
    """Return whether an entry of a zip is a link, which holds the path of another file instead of its contents."""
    return stat.S_ISLNK(entry.external_attr >> 16)


def class_folder(path: PurePosixPath) -> str:
    """Return the name of the folder that a picture lies in, "" if there is none.

    >>> class_folder(PurePosixPath("set/test/cat/1.png")), class_folder(PurePosixPath("1.png"))
    ('cat', '')
    """
    return path.parent.name


def split_of_folder(name: str) -> str:
    """Return the split that a folder's name stands for, `train`, `val` or `test`, or "" for any other name.

    >>> [split_of_folder(name) for name in ("train", "valid", "Test", "test_images")]
    ['train', 'val', '', '']
    """
    return _SPLITS.get(name, "")


def looks_like_split(name: str) -> str:
    """Return the split that a folder's name suggests, or "" if it suggests none.

    >>> [looks_like_split(name) for name in ("test_images", "Images-Train", "val2", "dev", "strain", "train station")]
    ['test', 'train', 'val', 'val or test', '', '']
    """
    match = _LIKE_A_SPLIT.fullmatch(re.sub(r"[\W\d_]", "", name.lower()))
    return _SUGGESTED[match[1]] if match else ""


def names_split(name: str) -> str:
    """Return the split that a word of a folder's name is, "" if none is: a weaker sign than `looks_like_split`.

    >>> [names_split(name) for name in ("seg_train", "my test shots", "strain")]
    ['train', 'test', '']
    """
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())
    return next((_SUGGESTED[word] for word in words if word in _SUGGESTED), looks_like_split(name))


def holds_any_class(name: str) -> bool:
    """Return whether a folder is called after what files it holds, as in detection data, so that it is no class.

    >>> [holds_any_class(name) for name in ("images", "JPEGImages", "labels", "cat")]
    [True, True, True, False]
    """
    return name.lower() in _CONTENTS


def is_unlabelled(name: str) -> bool:
    """Return whether a name says that pictures have no label.

    >>> [is_unlabelled(name) for name in ("_unlabeled", "no_label ", "labelled")]
    [True, True, False]
    """
    return name.strip() in _UNLABELLED


def check_split_case(folder: PurePosixPath) -> None:
    """Refuse a folder whose name differs only in case from that of a split.

    Raises:
        LabelledPathsError: it does.

    """
    lower = folder.name.lower()
    if folder.name != lower and lower in _SPLITS:
        raise LabelledPathsError(
            f"the folder {shown(folder)} differs from the split {lower!r} only in case; rename it to {lower!r}, or to "
            "something else if it is not a split"
        )


def check_unlabelled_case(folder: PurePosixPath) -> None:
    """Refuse a folder whose name differs only in case from that of unlabelled pictures.

    Raises:
        LabelledPathsError: it does.

    """
    lower = folder.name.lower()
    if folder.name != lower and is_unlabelled(lower):
        raise LabelledPathsError(
            f"the folder {shown(folder)} differs only in case from {lower!r}, the name for pictures without a label; "
            f"rename it to {lower!r} to leave its pictures out, or to something else if it is a class"
        )


@dataclass(frozen=True)
class SortedFiles:
    """The files of a data set.

    Attributes:
        pictures: the visible pictures.
        others: the visible files that are not pictures by suffix.
        notes: how many files are left out, and why.

    """

    pictures: list[PurePosixPath]
    others: list[PurePosixPath]
    notes: list[str]


def sort_files(files: Iterable[PurePosixPath], source: str) -> SortedFiles:
    """Sort the files of a data set into pictures and others; `source` names the data set in the notes."""
    pictures: list[PurePosixPath] = []
    others: list[PurePosixPath] = []
    hidden: list[PurePosixPath] = []
    for file in files:
        if is_hidden(file):
            if file.suffix.lower() in IMAGE_SUFFIXES and not _is_of_system(file):
                hidden.append(file)
        else:
            (pictures if file.suffix.lower() in IMAGE_SUFFIXES else others).append(file)
    notes = [_note_others(source, others)] if others else []
    if hidden:
        names = first_few(map(shown, sorted(hidden)), 2)
        notes.append(f"ignored in {source}, hidden by a dot before the name: {counted(len(hidden))}, {names}")
    return SortedFiles(pictures, others, notes)


def note_unlabelled(pictures: Collection[PurePosixPath]) -> list[str]:
    """Return a note that counts the pictures without a label, if any, by folder."""
    if not pictures:
        return []
    by_folder: dict[str, int] = defaultdict(int)
    for picture in pictures:
        depth = next(index for index, part in enumerate(picture.parts) if is_unlabelled(part))
        by_folder[shown(PurePosixPath(*picture.parts[: depth + 1]))] += 1
    folders = first_few(f"{count:,} in {folder}" for folder, count in sorted(by_folder.items()))
    return [f"left out {counted(len(pictures))} without a label: {folders}"]


def hint_at_case(name: str, class_names: Iterable[str]) -> str:
    """Return a hint if a class that is not known differs from a known one only in case, otherwise "".

    >>> hint_at_case("Cat", ("dog", "cat"))
    ". 'Cat' differs from 'cat' only in case: rename it"
    """
    same = next((known for known in class_names if known.lower() == name.lower()), None)
    return "" if same is None else f". {name[:64]!r} differs from {same[:64]!r} only in case: rename it"


def counted(pictures: int) -> str:
    """Return a number of pictures in words.

    >>> counted(1), counted(2000)
    ('1 picture', '2,000 pictures')
    """
    return f"{pictures:,} picture{'' if pictures == 1 else 's'}"


def shown(path: PurePosixPath) -> str:
    r"""Return a path for a message, shortened, with what cannot be printed escaped.

    >>> shown(PurePosixPath("cat/\udcfc.bmp"))
    'cat/\\udcfc.bmp'
    """
    text = str(path)[:200]
    return text if text.isprintable() else repr(text)[1:-1]


def _is_of_system(file: PurePosixPath) -> bool:
    """Return whether the operating system made a file, such as `._1.png`, which holds attributes of 1.png."""
    return file.name.startswith("._") or any(part in _SYSTEM_FOLDERS for part in file.parts)


def _note_others(source: str, others: list[PurePosixPath]) -> str:
    """Count the files that are not pictures by suffix, such as BMP files."""
    found = Counter(other.suffix.lower() or "without suffix" for other in others)
    kinds = sorted(found.items(), key=lambda kind: (-kind[1], kind[0]))[:MAX_KINDS_SHOWN]
    parts = [f"{count:,} {kind}" for kind, count in kinds]
    if more := len(others) - sum(count for _, count in kinds):
        parts.append(f"{more:,} others")
    return f"ignored in {source}, not JPEG, PNG or WebP by suffix: {', '.join(parts)}, such as {shown(min(others))}"
