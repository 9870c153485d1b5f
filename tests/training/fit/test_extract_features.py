"""Each feature is computed once, even after a kill or if pictures are added, changed or damaged, or chunks damaged."""

import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.manifest import ImageRecipe
from training.data.data_set import open_splits
from training.data.labelled_files import LabelledFiles
from training.data.options import DataOptions
from training.errors import DataError, TrainingError
from training.fit.extract_features import BATCH, CHUNK_BATCHES, Extracted, extract
from training.fit.feature_cache import FeatureCache, default_cache_folder

ROOT = Path(__file__).parents[3]
RECIPE = ImageRecipe(8, 8, 8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
CHUNK = BATCH * CHUNK_BATCHES


def network(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Three features: the mean colour."""
    return pixels.mean(axis=(1, 2), dtype=np.float32)


def training_files(folder: Path) -> LabelledFiles:
    return open_splits(DataOptions(data=folder)).train


def open_cache(root: Path, warnings: list[str] | None = None, size: int = 8) -> FeatureCache:
    warnings = [] if warnings is None else warnings
    return FeatureCache(root, "timm/tiny", {"weights": "abc", "size": size}, warnings.append)


def features_of(files: LabelledFiles, cache: FeatureCache, max_share: float = 0.0) -> Extracted:
    return extract(files, RECIPE, cache, lambda: (network, BATCH), max_unreadable=max_share, threads=2)


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A data set that may be changed."""
    target = tmp_path / "data"
    for file in folder.rglob("*.webp"):
        place = target / file.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    return target


def test_cached_features_are_not_computed_again(folder: Path, tmp_path: Path) -> None:
    files = training_files(folder)
    first = features_of(files, open_cache(tmp_path))
    again = extract(files, RECIPE, open_cache(tmp_path), lambda: pytest.fail("nothing has to be computed"))
    assert (first.computed, again.computed) == (len(files), 0)
    np.testing.assert_array_equal(first.features, again.features)
    assert first.features[0].argmax() == 2  # of the class blue
    other = features_of(files, open_cache(tmp_path, size=9))
    assert other.computed == len(files)  # other settings are another cache


def test_memory_holds_only_the_features_that_are_asked_for(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    rng = np.random.default_rng(0)
    chunks = [rng.normal(size=(250, 1000)).astype(np.float32) for _ in range(20)]  # of 1 MB
    pictures = [[rng.bytes(32) for _ in chunk] for chunk in chunks]
    for keys, features in zip(pictures, chunks, strict=True):
        cache.add(keys, features)
    tracemalloc.start()
    again = open_cache(tmp_path)
    found = again.features([pictures[7][3], pictures[2][5], pictures[7][0], pictures[7][3]])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(found, np.stack([chunks[7][3], chunks[2][5], chunks[7][0], chunks[7][3]]))
    assert peak < 6e6  # one or two chunks, 20 would be 20e6


def test_only_changed_pictures_are_computed(copied: Path, tmp_path: Path) -> None:
    features_of(training_files(copied), open_cache(tmp_path / "cache"))
    red = copied / "train/red/00000.webp"
    green = copied / "train/green/00000.webp"
    red.write_bytes((copied / "test/red/00000.webp").read_bytes())
    green.rename(green.with_name("moved.webp"))
    (copied / "train/blue/00001.webp").unlink()
    found = features_of(training_files(copied), open_cache(tmp_path / "cache"))
    assert found.computed == 1
    fresh = features_of(training_files(copied), open_cache(tmp_path / "fresh"))
    np.testing.assert_array_equal(found.features, fresh.features)


def test_a_damaged_chunk_is_reported_and_computed_again(folder: Path, tmp_path: Path) -> None:
    files = training_files(folder)
    warnings = list[str]()
    cache = open_cache(tmp_path)
    before = features_of(files, cache).features
    (chunk,) = cache.folder.glob("*.safetensors")
    content = bytearray(chunk.read_bytes())
    content[-1] ^= 1  # one bit of one feature
    chunk.write_bytes(content)
    (cache.folder / ".half.safetensors.123.part").write_bytes(b"what a kill may leave")
    found = features_of(files, open_cache(tmp_path, warnings))
    assert found.computed == len(files)
    (warning,) = warnings
    assert "is damaged; it is removed" in warning
    np.testing.assert_array_equal(before, found.features)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.training.fit import test_extract_features as shared
from training.fit import feature_cache

chunks = 0
write = feature_cache.write_file

def die_in_the_third(path, content):
    global chunks
    chunks += ".safetensors" in path.name
    if chunks == 3:
        path.write_bytes(content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, content)

feature_cache.write_file = die_in_the_third
shared.features_of(shared.training_files(Path(sys.argv[1])), shared.open_cache(Path(sys.argv[2])))
"""


def test_a_killed_run_resumes_where_it_was(copied: Path, tmp_path: Path) -> None:
    source = sorted(file.read_bytes() for file in (copied / "train/red").iterdir())
    for number in range(3 * CHUNK):  # bytes after a WebP's end make it another file of the same picture
        (copied / f"train/red/{number:05}.webp").write_bytes(source[number % len(source)] + number.to_bytes(2))
    files = training_files(copied)
    command = [sys.executable, "-c", KILLED, str(copied), str(tmp_path / "cache")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    cache = open_cache(tmp_path / "cache")
    assert len(list(cache.folder.glob("*.safetensors"))) == 2
    found = features_of(files, cache)
    assert found.computed == len(files) - 2 * CHUNK
    whole = features_of(files, open_cache(tmp_path / "whole"))
    np.testing.assert_array_equal(found.features, whole.features)


def test_pictures_that_cannot_be_read_are_left_out_up_to_a_share(copied: Path, tmp_path: Path) -> None:
    (copied / "train/red/00003.webp").write_bytes(b"no picture")
    files = training_files(copied)
    with pytest.raises(DataError, match=r"1 of 72 pictures cannot be read: train/red/00003\.webp"):
        features_of(files, open_cache(tmp_path))
    found = features_of(files, open_cache(tmp_path), max_share=0.02)
    assert len(found.files) == len(found.features) == len(files) - 1
    assert "train/red/00003.webp" not in found.files.names
    assert found.unreadable[0].startswith("train/red/00003.webp: ")


def test_infinite_features_are_refused_and_not_cached(folder: Path, tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    with pytest.raises(TrainingError, match="NaN or infinity as features"):
        extract(
            training_files(folder), RECIPE, cache, lambda: (lambda pixels: network(pixels) + np.float32(np.inf), BATCH)
        )
    assert not list(cache.folder.glob("*.safetensors"))


def test_the_default_cache_lies_in_xdg_cache_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "longtail" / "features"
