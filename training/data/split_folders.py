"""Where the splits or classes of a data set begin, and which folders are neither.

A folder is taken for a split only if its name is exactly that of a split and it holds class folders. `car/1.jpg` beside
`train/1.jpg` are two classes.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from models.errors import LabelledPathsError
from models.labelled_paths import (
    check_split_case,
    check_unlabelled_case,
    counted,
    holds_any_class,
    looks_like_split,
    names_split,
    shown,
    split_of_folder,
)
from models.sentences import first_few

__all__ = ["FolderTree", "check_class_names", "check_top", "find_root", "find_splits"]

# Formats that the model does not read. A folder of them holds pictures that a person would miss.
_OTHER_PICTURES = frozenset(
    {
        *(".avif", ".bmp", ".cr2", ".dcm", ".dng", ".gif", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe"),
        *(".jpeg2000", ".jxl", ".nef", ".pgm", ".ppm", ".svg", ".tga", ".tif", ".tiff"),
    }
)


@dataclass(frozen=True)
class FolderTree:
    """The visible folders and pictures of a data set, without those of unlabelled pictures.

    Attributes:
        pictures: their paths, in order.
        children: folder -> the folders in it, in order.
        with_pictures: the folders that hold pictures, at any depth.
        to_pass_over: the folders that hold only files such as annotations, at any depth.

    """

    pictures: list[PurePosixPath]
    children: dict[PurePosixPath, list[PurePosixPath]]
    with_pictures: frozenset[PurePosixPath]
    to_pass_over: frozenset[PurePosixPath]

    @classmethod
    def of(
        cls, pictures: list[PurePosixPath], others: Iterable[PurePosixPath], folders: Iterable[PurePosixPath]
    ) -> "FolderTree":
        """Return the tree of these pictures, other files and folders."""
        children: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
        for folder in sorted(folders):
            children[folder.parent].append(folder)
        by_kind: dict[bool, set[PurePosixPath]] = {True: set(), False: set()}
        for other in others:
            by_kind[other.suffix.lower() in _OTHER_PICTURES].update(other.parents)
        with_pictures = frozenset(
            above for folder in {p.parent for p in pictures} for above in [folder, *folder.parents]
        )
        return cls(pictures, children, with_pictures, frozenset(by_kind[False] - by_kind[True] - with_pictures))


def find_root(tree: FolderTree) -> PurePosixPath:
    """Return the folder of the splits or classes, below any folders that only wrap another one.

    Raises:
        LabelledPathsError: a folder's name differs only in case from that of a split or of unlabelled pictures.

    """
    root = PurePosixPath()
    while True:
        inside = [folder for folder in tree.children.get(root, []) if folder not in tree.to_pass_over]
        for folder in inside:
            check_unlabelled_case(folder)
            if tree.children.get(folder):
                check_split_case(folder)
        if len(inside) != 1 or split_of_folder(inside[0].name) or any(p.parent == root for p in tree.pictures):
            return root
        if not tree.children.get(inside[0]):
            return root  # a single class folder: a mistake to report, rather than a wrapper
        root = inside[0]


def find_splits(tree: FolderTree, root: PurePosixPath) -> dict[PurePosixPath, str]:
    """Return folder -> split, or {root: ""} if no folder that is named after a split has subfolders.

    Raises:
        LabelledPathsError: two folders hold one split.

    """
    splits: dict[PurePosixPath, str] = {}
    for folder in tree.children.get(root, []):
        split = split_of_folder(folder.name)
        if not split or not tree.children.get(folder):
            continue
        if split in splits.values():
            same = [str(other) for other, name in splits.items() if name == split]
            raise LabelledPathsError(
                f"two folders hold the {split} split; keep one of {', '.join([*same, str(folder)])}"
            )
        splits[folder] = split
    return splits or {root: ""}


def check_top(tree: FolderTree, root: PurePosixPath, splits: dict[PurePosixPath, str]) -> list[str]:
    """Check that no picture lies beside the splits; return a note on pictures in no folder, such as a preview.

    Raises:
        LabelledPathsError: a folder beside the splits holds pictures, or a split holds none.

    """
    named = first_few(folder.name for folder in splits)
    for folder in tree.children.get(root, []):
        if folder in splits:
            continue
        split = split_of_folder(folder.name)
        if folder in tree.with_pictures:
            raise LabelledPathsError(_beside(tree, folder, named))
        if split:
            raise LabelledPathsError(
                f"the folder {shown(folder)} is named after a split but has no class folders; fill it, or remove it"
            )
    loose = [picture for picture in tree.pictures if picture.parent == root]
    if not loose:
        return []
    return [f"left out {counted(len(loose))} beside the splits, in no class folder: {first_few(map(shown, loose))}"]


def _beside(tree: FolderTree, folder: PurePosixPath, named: str) -> str:
    """Return the sentence on a folder with pictures beside the splits."""
    name = folder.name[:64]
    direct = any(picture.parent == folder for picture in tree.pictures)
    hint = names_split(folder.name)
    if direct and hint:
        return (
            f"the pictures in {shown(folder)} lie in no class folder, so they have no label; put them into "
            f"{split_of_folder(name) or hint.split(' or ')[0]}/CLASS/IMAGE, or move the folder away"
        )
    if hint:
        meant = f"rename it to {' or '.join(map(repr, hint.split(' or ')))} if it is the {hint} split"
    elif direct:
        meant = f"if it is a class, move it into a split, such as {named.split(',', maxsplit=1)[0]}/{name}"
    else:
        meant = "rename it to 'train', 'val' or 'test' if it is that split"
    return (
        f"the folder {shown(folder)} lies beside the splits ({named}) but is not one of them; {meant}, or move it away"
    )


def check_class_names(split: str, classes: Collection[str]) -> list[str]:
    """Check the class folders of a split, "" for data without splits; return a note on those that look like splits.

    Raises:
        LabelledPathsError: all of them are named after splits or after what they hold, so pictures have no class.

    """
    alike = [] if split else [name for name in classes if looks_like_split(name)]
    if classes and all(name in alike or holds_any_class(name) for name in classes):
        raise LabelledPathsError(
            f"the pictures in {first_few(f'{split}/{name}' if split else name for name in classes)} lie in no class "
            "folders, so they have no labels; put them into CLASS/IMAGE or SPLIT/CLASS/IMAGE, or, if a file lists the "
            "labels, name that file with --data"
        )
    return [
        f"taken for a class because its pictures lie directly in it: {name} (a split holds class folders, "
        f"{name}/CLASS/IMAGE)"
        for name in alike
    ]
