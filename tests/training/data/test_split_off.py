"""Splitting off a test part: stratified, in whole groups, and reproducible."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.labelled_files import LabelledFiles
from training.data.split_off import split_off
from training.errors import DataError


def files(labels: list[int], groups: list[int] | None = None, names: list[str] | None = None) -> LabelledFiles:
    classes = tuple(f"c{i}" for i in range(max(labels) + 1))
    return LabelledFiles(
        "data",
        classes,
        tuple(names or [f"{i}.png" for i in range(len(labels))]),
        np.array(labels),
        str.encode,
        None if groups is None else np.array(groups),
    )


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.floats(0.01, 0.99), st.integers(0, 3))
def test_every_class_gives_its_share_and_keeps_a_picture(counts: list[int], share: float, seed: int) -> None:
    data = files(np.repeat(np.arange(len(counts)), counts).tolist())
    if max(counts) == 1:
        with pytest.raises(DataError, match="no picture can be split off"):
            split_off(data, share, seed)
        return
    test = data.part(split_off(data, share, seed)).class_counts
    for count, taken in zip(counts, test.tolist(), strict=True):
        assert taken == (0 if count == 1 else min(count - 1, max(1, round(share * count))))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=1, max_size=150), st.floats(0.05, 0.6))
def test_no_group_is_on_both_sides_and_every_class_keeps_a_picture(pairs: list[tuple[int, int]], share: float) -> None:
    data = files([label for label, _ in pairs], [group for _, group in pairs])
    try:
        chosen = split_off(data, share, 0)
    except DataError as error:
        assert "no group can be split off" in str(error)  # noqa: PT017  either is right
        return
    assert data.groups is not None
    assert not np.intersect1d(data.groups[chosen], data.groups[~chosen]).size
    there = data.class_counts > 0
    assert (data.part(~chosen).class_counts[there] > 0).all()


def test_groups_give_about_the_share_of_every_class() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(6, 6000, p=[0.5, 0.25, 0.12, 0.07, 0.04, 0.02])
    data = files(labels.tolist(), rng.integers(0, 200, 6000).tolist())
    shares = data.part(split_off(data, 0.2, 0)).class_counts / data.class_counts
    np.testing.assert_allclose(shares, 0.2, atol=0.03)  # groups of 30: a class of 120 moves by a group's one or two


def test_the_split_depends_on_names_and_seed_alone() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 200)
    groups = rng.integers(0, 40, 200)
    names = [f"{i}.png" for i in range(200)]
    order = rng.permutation(200)
    for numbers in (None, groups):
        one = files(labels.tolist(), None if numbers is None else numbers.tolist(), names)
        again = files(
            labels[order].tolist(),
            None if numbers is None else (99 - numbers[order]).tolist(),
            [names[i] for i in order],
        )
        chosen = [set(np.array(data.names)[split_off(data, 0.2, 7)]) for data in (one, again)]
        assert chosen[0] == chosen[1]
        assert chosen[0] != set(np.array(one.names)[split_off(one, 0.2, 8)])


def test_the_split_stays_the_same_from_version_to_version() -> None:
    chosen = split_off(files([0] * 10 + [1] * 10), 0.2, 0)
    assert np.flatnonzero(chosen).tolist() == [6, 9, 10, 16]
