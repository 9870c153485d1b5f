"""Which pictures alpha is chosen on: never, as far as a bundle can tell, those that its network was trained on.

    --test DATA                            all of DATA; whoever names them so says that they are new to the model
    --data, the data of the training       the part that was kept from training, split off again
    --data with a split of its own         its test split, or where there is none its val split
    --data, others                         all pictures, unless something says that they are those of the training

The data of the training are known by the fingerprint of the part that was split off. A bundle does not list the
pictures it was trained on, so other data are refused by their name and by the number of pictures of each class.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from models.manifest import Manifest
from training.data.data_set import fingerprint, open_test
from training.data.formats import is_list
from training.data.labelled_files import LabelledFiles, find_labelled_files, lies_below
from training.data.options import DataOptions, path_name
from training.data.split_names import split_of
from training.data.split_off import split_count
from training.errors import DataError

__all__ = ["pictures_to_tune_on"]

NEW_PICTURES = "name pictures of which all are new to the model with --test"
_DEFAULT = DataOptions(data=Path())


def pictures_to_tune_on(
    options: DataOptions, manifest: Manifest, given: Collection[str] = ()
) -> tuple[LabelledFiles, str]:
    """Find them; return them, classes numbered as the bundle's, with a sentence on which they are.

    Args:
        options: what is to be tuned on.
        manifest: of the bundle.
        given: fields of the options that were named, be it with what is the default anyway.

    Raises:
        DataError: they cannot be used, or would be, or may be, those of the training; the message says what would do.

    """
    names = tuple(info.name for info in manifest.classes)
    path = options.data if options.test is None else options.test
    if not is_list(path):
        options.refuse_for_folders(path)
    if options.test is None and (kept := _kept_part(options, manifest, names, given)):
        return kept
    if is_list(path):
        part = open_test(replace(options, test=path), names)
        files = part.files
        notes = [part.note]
        if files.split:
            files = replace(files, source=f"{files.source}, {files.split} split")
    else:
        files = find_labelled_files(path, names)
        notes = [""]
    if files.split:
        notes.append(f"test part: the {files.split} split of {path_name(path)}")
    elif options.test is not None:
        notes.append(f"test part: {path_name(path)}")
    else:
        _refuse_trained_on(path, files, manifest)
        notes.append(f"all {len(files):,} pictures of {path_name(path)}, none of which may have been trained on")
    return files, "; ".join(filter(None, notes))


def _kept_part(
    options: DataOptions, manifest: Manifest, names: tuple[str, ...], given: Collection[str]
) -> tuple[LabelledFiles, str] | None:
    """Return the part that was split off and kept from training, or None where these are other data."""
    kept = manifest.provenance.get("test_fingerprint")
    if not kept:
        return None
    asked = _split_as_kept(options, manifest)
    try:
        part = open_test(asked, names)
    except DataError:  # no data set that can be trained on, so not that of the training: the rule for others reads it
        return None
    if not part.is_split_off or fingerprint(part.files) != kept:
        return None
    said = [
        name
        for name, value in options.split_settings.items()
        if name in given or value != _DEFAULT.split_settings[name]
    ]
    if any(asked.split_settings[name] != options.split_settings[name] for name in said):
        raise DataError(
            f"{options.data}: what these options split off is not what was kept from training ({part.note}); leave "
            f"--test-share, --split-seed and --group-column away, or {NEW_PICTURES}"
        )
    return part.files, part.note


def _split_as_kept(options: DataOptions, manifest: Manifest) -> DataOptions:
    """Return the options with what decided the split of the training, where the bundle says it."""
    split = manifest.provenance.get("test_split")
    if not isinstance(split, dict):
        return options
    share, seed, column = (split.get(name) for name in ("test_share", "seed", "group_column"))
    if isinstance(share, float) and 0 < share < 1 and isinstance(seed, int) and isinstance(column, str | None):
        return replace(options, test_share=share, seed=seed, group_column=column)
    return options


def _refuse_trained_on(path: Path, files: LabelledFiles, manifest: Manifest) -> None:
    """Refuse pictures without a test part that may be those of the training."""
    name = path_name(path)
    trained = str(manifest.provenance.get("data") or "").removesuffix(", train split")
    if trained and name.removesuffix(".zip") == trained.removesuffix(".zip"):
        raise DataError(
            f"{path}: the model was trained on data of this name, and the part that was kept for a test is not had "
            f"from these; give the data and options of the training again, or {NEW_PICTURES}"
        )
    below = [each for each in files.names if not is_list(path) and lies_below(each, "train")]
    if below or split_of(Path(name).stem) == "train":
        where = f"{below[0]} lies in a train folder" if below else "by its name this is a train split"
        raise DataError(
            f"{path}: {where}, and alpha must not be chosen on pictures that were trained on; add a test folder "
            f"beside it, or {NEW_PICTURES}"
        )
    counts = files.class_counts.tolist()
    split = _split_as_kept(_DEFAULT, manifest)
    trained_counts = [info.training_count for info in manifest.classes]
    left = [count and count - split_count(count, split.test_share) for count in counts]
    if trained_counts in (counts, left if manifest.provenance.get("test_split") else counts):
        raise DataError(
            f"{path}: it has as many pictures of every class as the model's training data, so they seem to be those; "
            f"{NEW_PICTURES}"
        )
