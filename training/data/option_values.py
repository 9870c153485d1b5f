"""Values of options that are read by a rule of `models`; its errors become those of the option."""

from models.class_names import read_name
from models.errors import ArchiveNamesError, ClassNameError
from models.zip_names import check_zip_encoding
from training.errors import DataError

__all__ = ["read_exempt_class", "read_zip_encoding"]


def read_exempt_class(text: str) -> str:
    """Return the name of the exempt class in the form in which names are compared.

    Raises:
        DataError: it is not a name.

    """
    try:
        name = read_name(text)
    except ClassNameError as error:
        raise DataError(f"--exempt-class {error}") from error
    if not name:
        raise DataError(f"--exempt-class {text!r}: this is not a name; write that of a class")
    return name


def read_zip_encoding(text: str) -> str:
    """Return Python's name of an encoding.

    Raises:
        DataError: it is not one that file names in a zip may have.

    """
    try:
        return check_zip_encoding(text)
    except ArchiveNamesError as error:
        raise DataError(f"--zip-encoding {error}") from error
