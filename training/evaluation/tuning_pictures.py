"""Find the pictures to choose alpha on. As far as a bundle can tell, the network was not trained on them.

    --test DATA                  all of DATA; the user states that these pictures are new to the model
    --data, the training data    the part that was kept from training, split off again
    --data with splits           its test split, or its val split if it has no test split
    --data, anything else        all pictures, unless there is a sign that they are the training data

The fingerprint of the part that was split off identifies the training data. A bundle does not list the pictures it was
trained on, so other data are rejected by their name and by the number of pictures of each class.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from models.manifest import Manifest
from training.data.data_set import fingerprint, open_given_test, open_test
from training.data.files_to_choose_on import find_labelled_files
from training.data.formats import is_list
from training.data.labelled_files import LabelledFiles
from training.data.options import DataOptions, path_name
from training.data.split_names import split_of
from training.data.split_off import split_count
from training.errors import DataError

__all__ = ["pictures_to_tune_on"]

NEW_PICTURES = "name pictures that are all new to the model with --test"
_DEFAULT = DataOptions(data=Path())


def pictures_to_tune_on(
    options: DataOptions, manifest: Manifest, given: Collection[str] = ()
) -> tuple[LabelledFiles, str]:
    """Return the pictures, with classes numbered as the bundle's are, and a sentence that says which they are.

    Args:
        options: the data given on the command line.
        manifest: the bundle's manifest.
        given: the fields of the options that were named, even if with their default value.

    Raises:
        DataError: the pictures cannot be used, or are or may be those the model was trained on; the message says what
            would work.

    """
    names = tuple(info.name for info in manifest.classes)
    path = options.data if options.test is None else options.test
    options.refuse_zip_encoding()
    if not is_list(path):
        options.refuse_for_folders(path)
    if options.test is None and (kept := _kept_part(options, manifest, names, given)):
        return kept
    if is_list(path):
        files, notes = open_given_test(options, path, names)
    else:
        files, notes = find_labelled_files(path, names, options.zip_encoding)
    if files.split:
        used = f"test part: the {files.split} split of {path_name(path)}"
    elif options.test is not None:
        used = f"test part: {path_name(path)}"
    else:
        _refuse_trained_on(path, files, manifest)
        used = f"all {len(files):,} pictures of {path_name(path)}; the model must not have been trained on any"
    return files, "; ".join([used, *notes])


def _kept_part(
    options: DataOptions, manifest: Manifest, names: tuple[str, ...], given: Collection[str]
) -> tuple[LabelledFiles, str] | None:
    """Return the part that was split off and kept from training, or None if these are other data."""
    kept = manifest.provenance.get("test_fingerprint")
    if not kept:
        return None
    as_trained = _split_as_trained(options, manifest)
    try:
        part = open_test(as_trained, names)
    except DataError:  # nothing that can be trained on, so not the training data; the caller treats it as other data
        return None
    if not part.is_split_off or fingerprint(part.files) != kept:
        return None
    named = [
        name
        for name, value in options.split_settings.items()
        if name in given or value != _DEFAULT.split_settings[name]
    ]
    if any(as_trained.split_settings[name] != options.split_settings[name] for name in named):
        raise DataError(
            f"{options.data}: these options split off another part than the one kept from training ({part.note}); "
            f"omit --test-share, --split-seed and --group-column, or {NEW_PICTURES}"
        )
    return part.files, part.note


def _split_as_trained(options: DataOptions, manifest: Manifest) -> DataOptions:
    """Return the options with the split settings that training used, if the bundle holds them."""
    split = manifest.provenance.get("test_split")
    if not isinstance(split, dict):
        return options
    share, seed, column = (split.get(name) for name in ("test_share", "seed", "group_column"))
    if isinstance(share, float) and 0 < share < 1 and isinstance(seed, int) and isinstance(column, str | None):
        return replace(options, test_share=share, seed=seed, group_column=column)
    return options


def _refuse_trained_on(path: Path, files: LabelledFiles, manifest: Manifest) -> None:
    """Reject pictures without a test part that may be the training data."""
    name = path_name(path)
    trained = str(manifest.provenance.get("data") or "").removesuffix(", train split")
    if trained and name.removesuffix(".zip") == trained.removesuffix(".zip"):
        raise DataError(
            f"{path}: the model was trained on data of this name, but the part kept from training cannot be split off "
            f"these; give the data and options of the training again, or {NEW_PICTURES}"
        )
    if split_of(Path(name).stem) == "train":
        raise DataError(
            f"{path}: its name is that of a train split, and alpha must not be chosen on pictures the model was "
            f"trained on; add a test folder beside it, or {NEW_PICTURES}"
        )
    counts = files.class_counts.tolist()
    split = _split_as_trained(_DEFAULT, manifest)
    trained_counts = [info.training_count for info in manifest.classes]
    without_test = [count and count - split_count(count, split.test_share) for count in counts]
    if trained_counts in (counts, without_test if manifest.provenance.get("test_split") else counts):
        raise DataError(
            f"{path}: it has as many pictures of every class as the model's training data, so it seems to be the "
            f"training data; {NEW_PICTURES}"
        )
