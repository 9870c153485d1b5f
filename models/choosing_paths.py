"""The pictures of a folder or archive to choose alpha on, by where they lie: CLASS/IMAGE, at any depth.

Alpha must not be chosen on pictures that the network was trained on. If there are split folders, `test` counts, or
without it `val`, and never `train`. What is neither a class nor a split is refused, so that no part is pooled silently.
"""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from models.class_names import ClassIndices
from models.errors import LabelledPathsError
from models.labelled_paths import (
    IMAGE_SUFFIXES,
    check_split_case,
    check_unlabelled_case,
    class_folder,
    counted,
    hint_at_case,
    is_unlabelled,
    looks_like_split,
    names_split,
    note_unlabelled,
    shown,
    sort_files,
    split_of_folder,
)
from models.sentences import first_few
from models.zip_names import as_earlier_versions_read

__all__ = ["PicturesToChooseOn", "pictures_to_choose_on"]

_Folders = dict[PurePosixPath, list[PurePosixPath]]  # folder -> the pictures in it


@dataclass(frozen=True)
class PicturesToChooseOn:
    """The pictures that count, each in the folder of its class.

    Attributes:
        pictures: in the order given.
        split: the split that they are, `test` or `val`; "" if there are no splits.
        notes: which files are left out, and why.

    """

    pictures: list[PurePosixPath]
    split: str
    notes: list[str]

    def described(self, source: str) -> str:
        """Return a sentence on the pictures of `source` that are used, and on those that are left out."""
        used = f"the {self.split} split" if self.split else f"all {counted(len(self.pictures))}"
        return "; ".join([f"{used} of {source}", *self.notes])


def pictures_to_choose_on(
    files: Iterable[PurePosixPath], class_names: Collection[str], source: str
) -> PicturesToChooseOn:
    """Return the pictures to choose alpha on.

    Args:
        files: all files of a folder or an archive.
        class_names: the names of the model's classes.
        source: the name of the data for the notes.

    Raises:
        LabelledPathsError: there are no pictures with a label but those of a train split, or a folder is neither a
            class nor a split; the message says what would work.

    """
    known = ClassIndices(list(class_names))
    found = sort_files(files, source)
    folders: _Folders = defaultdict(list)
    unlabelled: list[PurePosixPath] = []
    for picture in found.pictures:
        if any(is_unlabelled(part) and part not in known for part in picture.parts[:-1]):
            unlabelled.append(picture)
        else:
            folders[picture.parent].append(picture)
    notes = [*found.notes, *note_unlabelled(unlabelled)]
    if not folders:
        raise LabelledPathsError(
            "no pictures found; put them into class folders, CLASS/IMAGE "
            f"({', '.join(sorted(IMAGE_SUFFIXES))})" + "".join(f"; {note}" for note in notes)
        )
    splits = {folder: _split_above(folder, known) for folder in folders}
    if any(splits.values()):
        split, left_out = _choose_split(folders, splits)
        notes += left_out
    else:
        split = ""
        notes += _note_pooled(folders)
    chosen = {folder for folder in folders if splits[folder] == split}
    _check_classes([folder for folder in folders if folder in chosen], folders, known)
    return PicturesToChooseOn([p for p in found.pictures if p.parent in chosen], split, notes)


def _split_above(folder: PurePosixPath, class_names: Collection[str]) -> str:
    """Return the split that a class folder lies in, "" if it lies in none."""
    above = folder.parents
    for outer in above:
        if outer.name not in class_names:
            check_split_case(outer)
    for each in (folder, *above):
        if each.name not in class_names:
            check_unlabelled_case(each)
    splits = sorted({split_of_folder(outer.name) for outer in above} - {""})
    if len(splits) > 1:
        raise LabelledPathsError(
            f"the folder {shown(folder)} lies in two splits, {' and '.join(splits)}; pack one of them alone"
        )
    return splits[0] if splits else ""


def _choose_split(folders: _Folders, splits: dict[PurePosixPath, str]) -> tuple[str, list[str]]:
    """Return the split to use, and notes on the others."""
    outside = sorted(folder for folder, split in splits.items() if not split)
    named = sorted(set(splits.values()) - {""})
    if outside:
        raise LabelledPathsError(
            f"the pictures in {first_few(map(_place, outside))} lie in no split, but others lie in {', '.join(named)}; "
            f"move them into a split, or leave them out{_suggestion(outside)}"
        )
    split = next((split for split in ("test", "val") if split in named), None)
    if split is None:
        raise LabelledPathsError(
            f"all pictures lie in a train folder, such as {shown(min(folders))}, and alpha must not be chosen on "
            "pictures the model was trained on; add a test folder, or, if they are new to the model, give the class "
            "folders without the train folder"
        )
    pictures: Counter[str] = Counter()
    for folder, inside in folders.items():
        pictures[splits[folder]] += len(inside)
    return split, [f"its {other} split ({counted(pictures[other])}) is not used" for other in named if other != split]


def _note_pooled(folders: _Folders) -> list[str]:
    """Return a note if class folders lie in several folders; refuse those that look like splits."""
    outer: Counter[PurePosixPath] = Counter()
    for folder, inside in folders.items():
        if folder.name:
            outer[folder.parent] += len(inside)
    wrapper = PurePosixPath(posixpath.commonpath(outer)) if outer else PurePosixPath()
    for folder in outer:
        inner = folder.relative_to(wrapper).parts
        hint = next(((name, split) for name in inner if (split := names_split(name))), None)
        hint = hint or next(((name, "train") for name in wrapper.parts if looks_like_split(name) == "train"), None)
        if hint:
            raise LabelledPathsError(
                f"the folder {hint[0][:64]!r} looks like the {hint[1]} split; rename it to {_rename_to(hint[1])} if it "
                "is that split, otherwise to another name, because alpha must not be chosen on training pictures"
            )
    if len(outer) < 2:
        return []
    counts = first_few(f"{_place(folder)} ({count:,})" for folder, count in sorted(outer.items()))
    return [f"taken together from {len(outer):,} folders: {counts}"]


def _check_classes(chosen: list[PurePosixPath], folders: _Folders, known: ClassIndices) -> None:
    """Refuse pictures that lie in no class folder, in one that the model does not know, or below two of them."""
    class_of = {folder: class_folder(folders[folder][0]) for folder in chosen}
    for folder, name in class_of.items():
        if not name:
            raise LabelledPathsError(
                f"{shown(folders[folder][0])} is not in a class folder; the folder of a picture names its class, "
                "CLASS/IMAGE"
            )
        for outer in folder.parents:
            if outer.name in known and not split_of_folder(outer.name) and name in known:
                raise LabelledPathsError(
                    f"the pictures in {shown(folder)} lie below two classes, {outer.name[:64]!r} and {name[:64]!r}; "
                    "move them into one class folder"
                )
    unknown = sorted(name for name in set(class_of.values()) if name not in known)
    if unknown:
        example = next(folder for folder, name in class_of.items() if name == unknown[0])
        raise LabelledPathsError(
            f"the model does not know {len(unknown):,} of these classes: {first_few(name[:64] for name in unknown)}; "
            f"it knows {first_few(known)}. The folder of a picture names its class, as in "
            f"{shown(folders[example][0])}"
            f"{_why_unknown(unknown[0], known)}"
        )


def _why_unknown(name: str, class_names: Collection[str]) -> str:
    """Return a hint on what a folder that is not a class was likely meant to be."""
    if earlier := as_earlier_versions_read(name, class_names):
        return (
            f". The model knows it as {earlier!r}, as an earlier version read the names of a zip; give the encoding "
            "cp437 to read them so again"
        )
    if hint := hint_at_case(name, class_names):
        return hint
    if looks_like_split(name):
        return (
            f". If {name[:64]!r} is a split, it holds class folders: {_rename_to(looks_like_split(name))}/CLASS/IMAGE"
        )
    return ""


def _suggestion(folders: list[PurePosixPath]) -> str:
    for folder in folders:
        for name in folder.parts:
            if split_of_folder(name):
                return f". {name[:64]!r} has no class folders; a split is SPLIT/CLASS/IMAGE"
            if hint := names_split(name):
                return f". If {name[:64]!r} is the {hint} split, rename it to {_rename_to(hint)}"
    return ""


def _rename_to(split: str) -> str:
    """Return a name to rename a folder to.

    >>> _rename_to("test"), _rename_to("val or test")
    ("'test'", "'val' or 'test'")
    """
    return " or ".join(repr(word) for word in split.split(" or "))


def _place(folder: PurePosixPath) -> str:
    return shown(folder) if folder.name else "the top folder"
