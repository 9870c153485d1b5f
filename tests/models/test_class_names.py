"""One rule for class names: what a value is read as, which names are one class, and how they are ordered."""

import math
from itertools import combinations

import numpy as np
import pytest

from models.class_names import ClassIndices, class_order, is_class_name, read_name, spelling_key
from models.errors import ClassNameError
from models.prior import target_prior

COMPOSED = "caf\u00e9"
DECOMPOSED = "cafe\u0301"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (DECOMPOSED, COMPOSED),
        ("\u1100\u1161", "\uac00"),  # Hangul, as macOS takes it apart
        ("\u212b", "\u00c5"),  # the sign of the Ångström is the letter
        ("\u00a0cat\u3000\n", "cat"),
        ("Cat", "Cat"),
        ("ﬁsh", "ﬁsh"),  # NFC keeps ligatures, which NFKC would not
        (5, "5"),
        (-0.0, "0"),
        ("-0.0", "0"),
        ("5.00", "5"),
        (2.5, "2.5"),
        (1e-7, "0.0000001"),
        (2.0**53, "9007199254740992"),
        (2**70, "1180591620717411303424"),
        ("1e3", "1e3"),
        ("1_0", "1_0"),
        ("+5", "+5"),
        ("01", "01"),
        ("٣", "٣"),
        ("1.0.0", "1.0.0"),
        (math.nan, ""),
        ("NaN", ""),
        ("nan", ""),
        ("Nan", "Nan"),
        (None, ""),
        ("  ", ""),
    ],
)
def test_a_value_is_read_as_one_name(value: object, name: str) -> None:
    assert read_name(value) == name


@pytest.mark.parametrize("value", [True, math.inf, -math.inf, 1e16, 2.0**54, [], {}, b"cat", "F\udcfcchse"])
def test_what_is_no_name_is_refused(value: object) -> None:
    with pytest.raises(ClassNameError):
        read_name(value)


def test_numbers_are_in_their_own_order_and_before_text() -> None:
    names = ["11", "10", "2", "0", "-1", "1", "0.5", "cat", "#", "1e3"]
    assert sorted(names, key=class_order) == ["-1", "0", "0.5", "1", "2", "10", "11", "#", "1e3", "cat"]


def test_spellings_of_one_number_are_found_and_others_are_not() -> None:
    same = ["7", "07", "007", "7.00"]
    assert all(spelling_key(one) == spelling_key(other) for one, other in combinations(same, 2))
    different = ["7", "-7", "70", "7e0", "7.5", "seven", "٧", "1" * 40, "1" * 39 + "2"]
    assert not any(spelling_key(one) == spelling_key(other) for one, other in combinations(different, 2))


@pytest.mark.parametrize("name", ["", " ", "a\tb", "zero\u200bwidth", "x" * 201])
def test_a_class_name_is_short_and_printable(name: str) -> None:
    assert not is_class_name(name)


def test_a_class_is_found_by_its_name_in_any_form() -> None:
    indices = ClassIndices([DECOMPOSED, "5", "dog "])
    assert [indices[name] for name in (COMPOSED, DECOMPOSED, "5.0", " 5", "dog", "dog ")] == [0, 0, 1, 1, 2, 2]
    assert [name in indices for name in ("05", "Dog", "", "nan", "F\udcfcchse")] == [False] * 5
    assert list(indices) == [DECOMPOSED, "5", "dog "]


def test_two_names_of_an_older_bundle_that_read_alike_are_found_as_they_are_held() -> None:
    indices = ClassIndices(["cat ", "cat  ", COMPOSED, DECOMPOSED, "nan"])
    assert [indices[name] for name in ("cat ", "cat  ", COMPOSED, DECOMPOSED, "nan")] == [0, 1, 2, 3, 4]
    assert "cat" not in indices  # it could be either


def test_a_prior_names_its_classes_in_any_form() -> None:
    prior = target_prior({COMPOSED: 3, " 5.0": 1}, (DECOMPOSED, "5"), np.array([1, 1]))
    assert prior.tolist() == [0.75, 0.25]


def test_a_prior_with_two_weights_for_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'caf\\xe9' and 'cafe\\u0301' are one class"):
        target_prior({COMPOSED: 3, DECOMPOSED: 1, "5": 1}, (COMPOSED, "5"), np.array([1, 1]))
