"""The service's settings: one frozen value, read from LONGTAIL_* variables and from flags. Flags win.

An unknown variable that starts with LONGTAIL_ is refused: a misspelt limit would otherwise silently not apply. Only
what Kubernetes writes for a Service called `longtail…` is passed over.
"""

import argparse
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticUndefined

from service.keys import read_keys
from service.kubernetes import without_kubernetes
from service.setting_groups import (
    GROUPS,
    SHIPPED_MODELS,
    Access,
    Computing,
    Ending,
    Limits,
    Models,
    Network,
    Storage,
)

__all__ = ["Settings", "SettingsError"]

PREFIX = "LONGTAIL_"
SECRET = frozenset({"database", "api_keys"})  # never shown: a value may hold a password or a key


class SettingsError(Exception):
    """A variable or a flag has a value that cannot be used."""


# Pydantic puts the fields of the last base first, so this gives the order of GROUPS.
class Settings(Ending, Access, Storage, Limits, Computing, Models, Network):
    """The service's settings; every field is also `LONGTAIL_<FIELD>` and `--<field>`."""

    @field_validator("precision")
    @classmethod
    def _check_device(cls, precision: str, others: ValidationInfo) -> str:
        if precision == "bfloat16" and others.data.get("device") == "cuda":
            raise ValueError("device cuda computes in float32 only")
        return precision

    @field_validator("database")
    @classmethod
    def _check_url(cls, text: str) -> str:
        from service.storage.sql_engines import read_url  # noqa: PLC0415  importing SQLAlchemy takes a while

        read_url(text)
        return text

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, text: str | None) -> str | None:
        if text is not None and not read_keys(text.replace(";", "\n")):
            raise ValueError("it holds no key; leave it out to accept every caller")
        return text

    @field_validator("database_password_file")
    @classmethod
    def _check_password(cls, file: Path | None, others: ValidationInfo) -> Path | None:
        if file is not None and "database" in others.data:
            from service.storage.sql_engines import with_password  # noqa: PLC0415  as above

            with_password(others.data["database"], file)
        return file

    @classmethod
    def read(cls, environment: Mapping[str, str], flags: Mapping[str, Any] | None = None) -> Self:
        """Return the settings from an environment and from parsed flags; flags win. Kubernetes' variables do not count.

        Raises:
            SettingsError: a LONGTAIL_ variable is unknown, or a value is invalid; the message names it.

        """
        known = {f"{PREFIX}{name.upper()}": name for name in cls.model_fields}
        values: dict[str, Any] = {}
        for variable, value in without_kubernetes(environment).items():
            if variable in known:
                values[known[variable]] = value
            elif variable.startswith(PREFIX):
                near = difflib.get_close_matches(variable, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"settings are {', '.join(sorted(known))}"
                raise SettingsError(f"unknown setting {variable}; {hint}")
        values |= flags or {}
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            where = f"{PREFIX}{name.upper()} (--{name.replace('_', '-')})"
            problem = first["msg"].removeprefix("Value error, ")
            if name in SECRET:
                raise SettingsError(f"{where} is refused: {problem}") from error
            raise SettingsError(f"{where} is {first['input']!r}: {problem[:1].lower()}{problem[1:]}") from error

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        """Add one flag per field to a parser, in groups; a flag that is not given leaves no value in the namespace."""
        for heading, group in GROUPS.items():
            section = parser.add_argument_group(heading)
            for name, field in group.model_fields.items():
                default = "" if field.default is PydanticUndefined else f" (default: {_shown(field.default)})"
                section.add_argument(
                    f"--{name.replace('_', '-')}",
                    dest=name,
                    default=argparse.SUPPRESS,
                    metavar=name.upper().rpartition("_")[2],
                    help=f"{field.description}{default}".replace("%", "%%"),
                )

    def as_environment(self) -> dict[str, str]:
        """Return the settings as LONGTAIL_ variables, for child processes."""
        given = {name: value for name, value in self.model_dump().items() if value is not None}
        return {f"{PREFIX}{name.upper()}": str(value) for name, value in given.items()}

    @property
    def database_url(self) -> str:
        """The database URL with the password from its file. Never log or show it."""
        from service.storage.sql_engines import with_password  # noqa: PLC0415  as above

        return (
            with_password(self.database, self.database_password_file) if self.database_password_file else self.database
        )

    @property
    def max_body_bytes(self) -> int:
        """Maximum request body in bytes."""
        return int(self.max_body_mb * 1_000_000)


def _shown(default: object) -> str:
    return "models/shipped" if default == SHIPPED_MODELS else "none" if default is None else str(default)
