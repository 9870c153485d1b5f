"""Class names: one rule for how a name is read, how two names are compared, and how they are ordered.

A class is named in many places: folders, lists, COCO files, archives, requests, manifests. Programs write one name in
several ways: macOS takes `é` apart into two characters, tables pad their cells, and pandas turns a column of integers
with a gap into `5.0` and NaN. So a name is read before it is compared:

    text            in Unicode's composed form (NFC), without white space around it; its case is kept
    whole numbers   5, 5.0 and the texts `5` and `5.0` are all the name `5`
    other numbers   in decimal digits: 2.5 is `2.5`
    nothing         None, NaN, the texts `nan` and `NaN`, and blank text are no name, ""

Text is not evaluated: `1e3`, `1_0` and `+5` are names like any other. `01` is a number too, but not the same name as
`1`. If a data set has both, one of them is a mistake; `spelling_key` finds such pairs.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from math import isfinite, isnan
from unicodedata import normalize

from models.errors import ClassNameError

__all__ = [
    "MAX_CLASS_NAME_LENGTH",
    "ClassIndices",
    "class_order",
    "is_class_name",
    "is_number",
    "read_name",
    "spelling_key",
]

MAX_CLASS_NAME_LENGTH = 200  # characters of a read name
_MAX_EXACT = 2**53  # a larger float may stand for several integers
_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]{0,199}))\.0{1,99}")
_NUMBER = re.compile(r"-?[0-9]{1,200}(?:\.[0-9]{1,200})?")
_NAN_TEXTS = ("nan", "NaN")  # as Python, numpy, pandas and JSON write it


def read_name(value: object) -> str:
    r"""Return the name that a value stands for, "" if it stands for nothing.

    Raises:
        ClassNameError: the value is neither text nor a number, is infinite, a float too large to be exact, or text that
            is not Unicode, as in the name of a file in another encoding.

    >>> [read_name(value) for value in (5, 5.0, "5.0", -0.0, 2.5, "01", " cat ", float("nan"), None)]
    ['5', '5', '5', '0', '2.5', '01', 'cat', '', '']
    >>> read_name("cafe\u0301") == "caf\u00e9"
    True

    """
    if value is None:
        return ""
    if isinstance(value, str):
        return _read_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ClassNameError(f"{value!r:.80} is neither text nor a number")
    if isinstance(value, int):
        return str(Decimal(value))  # str(int) refuses thousands of digits
    if isnan(value):
        return ""
    if not isfinite(value):
        raise ClassNameError(f"{value} is not a name; write a finite number or text")
    if abs(value) > _MAX_EXACT:
        raise ClassNameError(f"{value!r} is too large a float to be exact; write an integer without a point, or text")
    return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")


def is_class_name(name: str) -> bool:
    """Return whether a name can be a class's: 1 to 200 printable characters, not only white space."""
    return bool(name.strip()) and len(name) <= MAX_CLASS_NAME_LENGTH and name.isprintable()


def is_number(name: str) -> bool:
    """Return whether a read name is a number.

    >>> [is_number(name) for name in ("7", "007", "-7", "2.5", "1e3", "+5")]
    [True, True, True, True, False, False]
    """
    return _NUMBER.fullmatch(name) is not None


def class_order(name: str) -> tuple[bool, Decimal, str]:
    """Return the sorting key of a read name: numbers first, in their own order, then text in that of its characters.

    >>> sorted(["dog", "10", "2", "cat", "0.5"], key=class_order)
    ['0.5', '2', '10', 'cat', 'dog']
    """
    return (False, Decimal(name), name) if is_number(name) else (True, Decimal(0), name)


def spelling_key(name: str) -> Decimal | str:
    """Return a read name so that all spellings of one number are equal, and any two other names are not.

    >>> [spelling_key(name) == spelling_key("7") for name in ("7", "007", "7.00", "-7", "agent 7")]
    [True, True, True, False, False]
    """
    return Decimal(name) if is_number(name) else name


class ClassIndices(Mapping[str, int]):
    r"""Class name -> index, in whatever form a name is given.

    A bundle or a checkpoint of an earlier version may hold names that are not in the form that `read_name` gives, even
    two that it gives the same form. A name that is given exactly as it is held is therefore found first.

    Args:
        names: the C names as the model holds them.

    >>> indices = ClassIndices(["caf\u00e9", "5"])
    >>> indices["cafe\u0301"], indices.get(" 5.0 "), "tea" in indices
    (0, 1, False)

    """

    def __init__(self, names: Sequence[str]) -> None:
        self._exact = {name: index for index, name in enumerate(names)}
        self._read: dict[str, int] = {}
        ambiguous: set[str] = set()
        for name, index in self._exact.items():
            form = _form(name)
            if self._read.setdefault(form, index) != index:
                ambiguous.add(form)
        for form in ambiguous | {""}:
            self._read.pop(form, None)

    def __getitem__(self, name: str) -> int:
        """Return the index of a class.

        Raises:
            KeyError: no class has the name, or several have it in the form in which names are compared.

        """
        index = self._exact.get(name)
        return self._read[_form(name)] if index is None else index

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names as the model holds them."""
        return iter(self._exact)

    def __len__(self) -> int:
        """Return C."""
        return len(self._exact)


def _form(name: str) -> str:
    """Return the form in which a text is compared; text that cannot be read is itself."""
    try:
        return read_name(name)
    except ClassNameError:
        return name


def _read_text(text: str) -> str:
    name = text.strip() if text.isascii() else normalize("NFC", text).strip()
    if name in _NAN_TEXTS:
        return ""
    if not name.isascii() and any("\ud800" <= character <= "\udfff" for character in name):
        raise ClassNameError(f"{name[:80]!r} is not Unicode text; rename it in UTF-8")
    whole = _WHOLE.fullmatch(name)
    if whole is None:
        return name
    return "0" if whole[1] == "-0" else whole[1]
