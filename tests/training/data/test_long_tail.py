"""The long-tail cut."""

from pathlib import Path

import pytest

from training.data.class_folders import open_class_folders
from training.data.long_tail import cut_long_tail, long_tail_counts
from training.errors import DataError

SHARED = Path(__file__).parents[4] / "shared" / "data"


def test_counts_are_the_paper_s() -> None:
    assert long_tail_counts(5000, 10, 100) == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert sum(long_tail_counts(500, 100, 100)) == 10847
    assert long_tail_counts(7, 3, 1) == [7, 7, 7]


@pytest.mark.parametrize("ratio", [0.5, 0.0, -1.0, float("nan")])
def test_a_ratio_below_one_is_refused(ratio: float) -> None:
    with pytest.raises(DataError, match="is below 1"):
        long_tail_counts(100, 10, ratio)


def test_cuts_are_nested_and_keep_the_first_by_rank(folder: Path) -> None:
    folders = open_class_folders(folder, "train")
    strong, weak = (cut_long_tail(folders, ratio) for ratio in (8, 2))
    for label in range(len(folders.classes)):
        small, large, everything = (
            [name for name, of in zip(files.names, files.labels, strict=True) if of == label]
            for files in (strong, weak, folders)
        )
        assert small == large[: len(small)] == everything[: len(small)]
        assert len(small) < len(large) or label == 0


def test_a_ratio_the_data_cannot_give_is_refused(folder: Path, tmp_path: Path) -> None:
    folders = open_class_folders(folder, "train")
    with pytest.raises(DataError, match="leaves class 'red' without pictures"):
        cut_long_tail(folders, 100)
    for name, count in (("a", 10), ("b", 3)):
        (tmp_path / "train" / name).mkdir(parents=True)
        for rank in range(count):
            (tmp_path / "train" / name / f"{rank}.png").write_bytes(b"x")
    with pytest.raises(DataError, match="needs 5 pictures of class 'b', which has 3"):
        cut_long_tail(open_class_folders(tmp_path, "train"), 2)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the CIFAR zips are not beside this checkout (../shared/data)")
@pytest.mark.parametrize(("name", "total"), [("cifar10-lt", 12406), ("cifar100-lt", 10847)])
def test_the_real_cifar_cut_has_the_known_size(name: str, total: int) -> None:
    folders = cut_long_tail(open_class_folders(SHARED / f"{name}.zip", "train"), 100)
    assert len(folders) == total
