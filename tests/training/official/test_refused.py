"""What import-official refuses: code, other layouts and networks, class lists and pictures that do not fit."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.official.authors import Authors, resnet32
from training import __main__ as cli
from training.errors import CheckpointError, DataError, RecipeError
from training.official.checkpoint import read_official
from training.official.class_list import read_class_list
from training.official.presets import image_recipe_for, preset_for
from training.official.torch_file import read_torch_file


@pytest.fixture(scope="module")
def authors() -> Authors:
    return resnet32(classes=3, side=8)


class Touch:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mknod, (str(self.path),)


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "before 1.6"])
def test_code_in_a_checkpoint_is_refused_and_does_not_run(
    authors: Authors, tmp_path: Path, options: dict[str, Any]
) -> None:
    marker = tmp_path / "marker"
    file = tmp_path / "bad.pth"
    torch.save(authors.latest(centroids=Touch(marker)), file, **options)
    with pytest.raises(CheckpointError, match=r"contains posix\.mknod, which may be code; nothing was run"):
        read_official(file)
    assert not marker.exists()
    torch.load(file, weights_only=False)  # unpickling does run the code
    assert marker.exists()


def test_an_array_that_is_not_numeric_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "objects.pth"
    for values in (np.array([{}], object), np.array(["text"]), np.zeros(2, [("a", "f4")])):
        torch.save({"embed": values}, file)
        with pytest.raises(CheckpointError, match=r"contains an array of dtype .* only numeric arrays are allowed"):
            read_torch_file(file)


class Forged:
    """An object that is pickled as a float array with a given shape and content."""

    def __init__(self, shape: Any, content: Any) -> None:
        self.state = (1, shape, np.dtype("<f4"), False, content)

    def __reduce__(self) -> tuple[Any, ...]:
        function, arguments, _ = np.zeros(1).__reduce__()
        return function, arguments, self.state


@pytest.mark.parametrize(("shape", "content"), [((4,), b"1234"), ((-1,), b"1234"), ((2**62,), b"1234"), ((1,), [1.0])])
def test_an_array_whose_content_has_another_size_is_refused(tmp_path: Path, shape: Any, content: Any) -> None:
    torch.save({"embed": Forged(shape, content)}, tmp_path / "forged.pth")
    with pytest.raises(CheckpointError, match="contains an array"):
        read_torch_file(tmp_path / "forged.pth")


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", ">f4", "int64", "bool"])
def test_arrays_and_numbers_survive_a_round_trip(tmp_path: Path, kind: str) -> None:
    values = np.arange(6).reshape(2, 3).astype(kind)
    torch.save({"a": values, "b": np.asfortranarray(values), "c": np.float64(0.25), "d": [1, "x"]}, tmp_path / "f.pth")
    content = read_torch_file(tmp_path / "f.pth")
    for name in "ab":
        np.testing.assert_array_equal(content[name], values)
        assert content[name].dtype == values.dtype.newbyteorder("=")
    assert (content["c"], content["d"]) == (0.25, [1, "x"])


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
def test_files_of_numpy_1_and_of_old_torch_are_read(authors: Authors, tmp_path: Path, zipped: bool) -> None:
    new = tmp_path / "new.pth"
    old = tmp_path / "old.pth"
    authors.save_latest(new, _use_new_zipfile_serialization=zipped)
    names = b"numpy._core.multiarray\n", b"numpy.core.multiarray\n"
    if zipped:
        with zipfile.ZipFile(new) as source, zipfile.ZipFile(old, "w") as target:
            for entry in source.namelist():
                target.writestr(entry, source.read(entry).replace(*names))
    else:
        old.write_bytes(new.read_bytes().replace(*names))
    assert new.stat().st_size != old.stat().st_size
    one = read_official(new)
    two = read_official(old)
    assert (one.network, one.epoch, one.best) == (two.network, two.epoch, two.best) == ("cifar_resnet32", 200, False)
    assert torch.equal(one.mean_feature, two.mean_feature)
    assert torch.equal(one.weight, authors.weight)


def without(part: str, name: str) -> Callable[[dict[str, Any]], None]:
    return lambda state: state["state_dict"][part].pop(name)


def with_tensor(part: str, name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda state: state["state_dict"][part].update({name: value})


CONV = "module.layer2.0.conv1.weight"
FAULTS = [
    (
        lambda state: state.pop("state_dict"),
        "contains epoch, embed; the authors' files contain either state_dict_best or",
    ),
    (lambda state: state.update(state_dict_best={}), "contain either state_dict_best or state_dict"),
    (lambda state: state["state_dict"].pop("feat_model"), "state_dict has no feat_model"),
    (lambda state: state.pop("embed"), "no `embed`, the mean feature that TDE needs"),
    (
        lambda state: state.update(embed=np.ones(64, np.float32)),
        "embed has 64 values, but the classifier's weights have 128",
    ),
    (lambda state: state.update(embed=-np.ones(128, np.float32)), "embed has negative values"),
    (lambda state: state.update(embed=np.full(128, np.nan)), "embed contains values that are not finite"),
    (lambda state: state["embed"][64:].fill(0), "embed is zero for head 1"),
    (without("feat_model", CONV), "feat_model, a cifar_resnet32, does not fit: missing layer2.0.conv1.weight"),
    (with_tensor("feat_model", "module.fc_add.weight", torch.ones(2, 2)), "does not fit: unexpected fc_add.weight"),
    (
        with_tensor("feat_model", CONV, torch.ones(32, 8, 3, 3)),
        "wrong shape layer2.0.conv1.weight (the file has (32, 8, 3, 3), the network (32, 16, 3, 3))",
    ),
    (
        with_tensor("feat_model", CONV, torch.zeros(1).expand(10**7, 10**7)),
        "layer2.0.conv1.weight has shape (10000000, 10000000), but the file stores only 1 of its values; save",
    ),
    (
        with_tensor("classifier", "module.fc.weight", torch.zeros(1).expand(10**7, 10**7)),
        "weight has shape (10000000, 10000000), but the file stores only 1 of its values",
    ),
    (lambda state: state.update(embed=torch.zeros(1).expand(10**14)), "embed has shape (100000000000000,), but the"),
    (with_tensor("feat_model", CONV, "text"), "layer2.0.conv1.weight is not a floating-point tensor"),
    (with_tensor("feat_model", CONV, torch.ones(2, device="meta")), "layer2.0.conv1.weight is not a floating-point"),
    (lambda state: state.update(embed=torch.ones(128, device="meta")), "no `embed`, the mean feature"),
    (
        with_tensor("feat_model", CONV, torch.full((2,), torch.inf)),
        "layer2.0.conv1.weight contains values that are not",
    ),
    (
        with_tensor("classifier", "module.fc.bias", torch.ones(3)),
        "contains weight (3, 128), fc.bias (3,); TDE needs a Causal_Norm_Classifier",
    ),
    (
        lambda state: state["state_dict"].update(feat_model={"module.layer1.0.conv1.weight": torch.ones(64, 1, 1, 1)}),
        "is not one of the authors' networks (cifar_resnet32, resnet10, resnet50",
    ),
]


@pytest.mark.parametrize(("change", "sentence"), FAULTS, ids=[sentence[:40] for _, sentence in FAULTS])
def test_another_layout_or_network_is_refused_with_the_difference(
    authors: Authors, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, sentence: str
) -> None:
    state = authors.latest(embed=authors.embed.copy())
    change(state)
    torch.save(state, tmp_path / "odd.pth")
    assert run(tmp_path, "odd.pth") == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def run(root: Path, file: str, *more: str, classes: str = "a,200\nb 20\nc, 2\n") -> int:
    (root / "classes.txt").write_text(classes)
    return cli.main(
        [
            *("import-official", str(root / file), "--classes", str(root / "classes.txt"), "--preset", "cifar10"),
            *("--size", "8", "--resize", "8", "--out", str(root / "models" / "odd"), *more),
        ]
    )


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--num-heads", "3"), "128 features cannot be split into 3 equal heads"),
        (("--tau", "0"), "tau must be above 0"),
        (("--gamma", "-1"), "gamma at least 0"),
        (("--alpha", "nan"), "--alpha nan must be a number from"),
        (("--size", "6"), "--size 6: the size for cifar_resnet32 must be a multiple of 4"),
        (("--resize", "4"), "resize 4 is smaller than the crop 8x8"),
        (("--train-data", "DATA"), "24 pictures of blue, but --classes gives a training_count of 200"),
        (("--train-data", "DATA", "--classes", "OTHER"), "--classes lacks 1 of these classes: red"),
        (
            ("--data", "DATA", "--classes", "OTHER"),
            "the model does not know 1 of these classes, which have no training pictures: red",
        ),
        (
            ("--data", "FLAT"),
            "put test pictures into test/CLASS/IMAGE",
        ),
        (("--classes", "SHORT"), "2 classes, but the classifier in"),
    ],
)
def test_options_and_pictures_that_do_not_fit_are_refused(
    authors: Authors, tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str], more: Any, sentence: str
) -> None:
    authors.save_latest(tmp_path / "latest.pth")
    (tmp_path / "OTHER").write_text("blue,9\ngreen,9\nviolet,9\n")
    (tmp_path / "SHORT").write_text("blue,9\ngreen,9\n")
    places = {
        "FLAT": str(folder / "train"),
        "DATA": str(folder),
        "OTHER": str(tmp_path / "OTHER"),
        "SHORT": str(tmp_path / "SHORT"),
    }
    names = "blue,200\ngreen,20\nred,2\n"
    assert run(tmp_path, "latest.pth", *(places.get(word, word) for word in more), classes=names) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "file.pth"
    with pytest.raises(CheckpointError, match="no such file"):
        read_torch_file(file)
    for content in (b"", b"half", pickle.dumps({"a": 1})[:-2], b"PK\x03\x04"):
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"not a torch file, or damaged"):
            read_torch_file(file)
    torch.save([1], file)
    with pytest.raises(CheckpointError, match="contains a list; the authors' files contain a dict"):
        read_torch_file(file)


def test_class_lists_can_be_text_or_json(tmp_path: Path) -> None:
    file = tmp_path / "classes"
    for text in (
        "cat,500\ntench, Tinca tinca,12\n\nclass 1 0\n",
        "\ufeffcat 500\r\ntench, Tinca tinca , 12\r\nclass 1\t0",
        '[["cat", 500], {"name": "tench, Tinca tinca", "training_count": 12}, ["class 1", 0]]',
    ):
        file.write_text(text, encoding="utf-8")
        assert [(info.name, info.training_count, info.group) for info in read_class_list(file)] == [
            ("cat", 500, "many"), ("tench, Tinca tinca", 12, "few"), ("class 1", 0, "few"),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("name,count\ncat,5\ndog\n", ["line 1: 'name,count' is not `name,training_count`", "line 3: 'dog' is not"]),
        ("cat,5\ncat 6\n", ["line 2: line 1 already has the name 'cat'"]),
        ("cat,1,000\ndog,5", ["line 1: 'cat,1,000' is ambiguous"]),
        ("cat,-5\ndog,5.5", ["line 1: 'cat,-5' is not", "line 2: 'dog,5.5' is not"]),
        (f"{'x' * 201},5\ndog,5", ["line 1: the name", "must be 1 to 200 printable characters"]),
        ("a\nb\nc\nd\ne\nf\ng", ["line 5: 'e' is not", "and 2 more"]),
        ("cat,5", ["a classifier needs two or more classes; found 1"]),
        ("[1", ["not a valid JSON list"]),
        ('[["cat", 5], "dog", ["bird", 1.5]]', ['entry 1: "dog" is neither', 'entry 2: ["bird", 1.5] is neither']),
    ],
)
def test_a_faulty_class_list_is_refused_line_by_line(tmp_path: Path, text: str, sentences: list[str]) -> None:
    file = tmp_path / "classes.txt"
    file.write_text(text)
    with pytest.raises(DataError) as refused:
        read_class_list(file)
    assert all(sentence in str(refused.value) for sentence in sentences)


def test_a_class_list_that_is_missing_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_class_list(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9,5\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_class_list(tmp_path / "latin.txt")


def test_preprocessing_follows_the_data_set_and_the_network() -> None:
    assert [preset_for(count).name for count in (10, 100, 365, 1000, 8142)] == [
        "cifar10", "cifar100", "places", "imagenet", "inaturalist18",
    ]  # fmt: skip
    with pytest.raises(RecipeError, match=r"no data set of the authors has 7 classes.*--preset: cifar10 \(10\)"):
        preset_for(7)
    enlarged = image_recipe_for("resnext50_32x4d", preset_for(100))
    assert (enlarged.height, enlarged.resize, enlarged.mean) == (224, 224, (0.4914, 0.4822, 0.4465))
    with pytest.raises(RecipeError, match="averages 7 x 7 positions, so it takes 193 to 224 pixels"):
        image_recipe_for("resnet50", preset_for(1000), size=256)
