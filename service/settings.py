"""The service's settings: one frozen value, read from LONGTAIL_* variables and from flags. Flags win.

An unknown variable that starts with LONGTAIL_ is refused: a misspelt limit would otherwise silently not apply.
"""

import argparse
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticUndefined

from service.cores import CORES
from service.keys import read_keys

__all__ = ["Settings", "SettingsError"]

PREFIX = "LONGTAIL_"
SECRET = frozenset({"database", "api_keys"})  # never shown: a value may hold a password or a key
SHIPPED_MODELS = Path(__file__).resolve().parent.parent / "models" / "shipped"


class SettingsError(Exception):
    """A variable or a flag has a value that cannot be used."""


class Settings(BaseModel):
    """The service's settings; every field is also `LONGTAIL_<FIELD>` and `--<field>`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    grpc_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="port of the Open Inference Protocol over gRPC; 0 turns gRPC off, and grpcio is not needed",
    )
    models: Path = Field(
        SHIPPED_MODELS, description="folder of bundles, NAME/VERSION; the highest version of each NAME is served"
    )
    watch_seconds: float = Field(
        1.0,
        ge=0,
        le=3600,
        description="seconds between two scans of the models folder; 0 scans only at start and for a load request",
    )
    serve_versions: int = Field(
        1, ge=1, le=64, description="number of versions served of each model, the highest first"
    )
    device: Literal["cpu", "cuda"] = Field(
        "cpu",
        description="device to compute on; if CUDA is not available the service stops, it never falls back to the CPU",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="precision to compute in; bfloat16 needs a CPU with bfloat16 instructions and OpenVINO (group "
        "openvino), takes about half the time there, and never falls back to float32",
    )
    workers: int = Field(1, ge=1, le=64, description="number of server processes; each loads all models")
    inference_threads: int = Field(
        CORES + 1,
        ge=1,
        le=256,
        description="number of batches computed at a time, one CPU thread each; the default is the number of cores "
        "plus one, so that a core stays busy while one thread waits for the interpreter",
    )
    decode_threads: int = Field(
        CORES,
        ge=1,
        le=256,
        description="number of pictures decoded at a time, by the same threads; on a GPU, set it higher than "
        "inference_threads",
    )
    max_batch_images: int = Field(
        16,
        ge=1,
        le=1024,
        description="maximum number of images in a batch; a model that was measured not to gain from large batches "
        "gets smaller ones",
    )
    max_pending_images: int = Field(
        512, ge=1, description="maximum number of pictures accepted and not answered yet; further requests get 503"
    )
    cache_mb: float = Field(
        32.0,
        ge=0,
        le=100_000,
        description="size of the response cache in megabytes; 0 turns it off",
    )
    max_body_mb: float = Field(20.0, gt=0, le=1024, description="maximum request body in megabytes (10^6 bytes)")
    max_json_mb: float = Field(1.0, gt=0, le=1024, description="maximum JSON body in megabytes")
    max_pixels: int = Field(
        50_000_000,
        ge=1,
        description="maximum width × height of a picture, checked before decoding, which takes up to 27 bytes a pixel",
    )
    max_files: int = Field(64, ge=1, description="maximum number of pictures in one multipart request")
    max_alphas: int = Field(128, ge=1, description="maximum number of alpha values in one request")
    max_alpha: float = Field(100.0, gt=0, le=1e6, description="maximum absolute value of alpha")
    max_archive_mb: float = Field(
        1000.0,
        gt=0,
        le=100_000,
        description="maximum size of an archive of labelled pictures to choose alpha on, in megabytes",
    )
    max_archive_files: int = Field(100_000, ge=1, description="maximum number of files in such an archive")
    keep_results: int = Field(
        10_000,
        ge=0,
        description="number of recent results kept for each model, so that feedback can refer to them; 0 keeps none",
    )
    keep_results_seconds: float = Field(3600.0, gt=0, description="seconds for which a result is kept")
    keep_feedback: int = Field(
        1_000_000, ge=1, description="number of labels kept for each model; the oldest are dropped first"
    )
    max_feedback: int = Field(1000, ge=1, description="maximum number of labels in one feedback request")
    drift_labels: int = Field(1000, ge=1, description="number of newest labels that drift is measured on")
    max_pending_mb: float = Field(
        256.0,
        gt=0,
        le=1_000_000,
        description="maximum size of all request bodies in memory, in megabytes; further requests get 503",
    )
    max_connections: int = Field(
        4096,
        ge=1,
        le=1_000_000,
        description="maximum number of connections to each process; further connections get 503",
    )
    max_head_kb: float = Field(
        32.0,
        ge=1,
        le=1024,
        description="maximum size of a request's head (request line and headers) in kilobytes (1000 bytes)",
    )
    head_seconds: float = Field(10.0, gt=0, le=3600, description="seconds within which a request's head must arrive")
    body_seconds: float = Field(
        20.0,
        gt=0,
        le=3600,
        description="seconds within which a body must arrive; extended as long as it arrives at 10 kB a second or "
        "faster",
    )
    stuck_seconds: float = Field(
        60.0,
        ge=0,
        le=86_400,
        description="seconds after which a thread that works on one batch or picture counts as hanging: its requests "
        "fail, /livez answers 503, and the process exits to be restarted; 0 turns this off",
    )
    grace_seconds: float = Field(
        0.0,
        ge=0,
        le=3600,
        description="seconds after SIGTERM during which requests are still accepted while /readyz already answers "
        "503, so that load balancers notice",
    )
    drain_seconds: int = Field(30, ge=0, description="seconds that accepted requests may then take to finish")
    database: str = Field(
        "sqlite:///state/longtail.db",
        repr=False,
        description="database for feedback, operating points and jobs: sqlite:///FILE or "
        "postgresql://USER:PASSWORD@HOST/NAME",
    )
    database_password_file: Path | None = Field(
        None, description="file with the database password, for a postgresql:// URL without one"
    )
    api_keys_file: Path | None = Field(
        None,
        description="file of API keys, one a line, as `python -m service.keys` prints them; without keys every caller "
        "is accepted",
    )
    api_keys: str | None = Field(
        None,
        repr=False,
        description="API keys in the same form, separated by ; or line breaks; used together with those of the file",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe level that is logged"
    )

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
        """Return the settings from an environment and from parsed flags; flags win.

        Raises:
            SettingsError: a LONGTAIL_ variable is unknown, or a value is invalid; the message names it.

        """
        known = {f"{PREFIX}{name.upper()}": name for name in cls.model_fields}
        values: dict[str, Any] = {}
        for variable, value in environment.items():
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
        """Add one flag per field to a parser; a flag that is not given leaves no value in the namespace."""
        for name, field in cls.model_fields.items():
            default = "" if field.default is PydanticUndefined else f" (default: {_shown(field.default)})"
            parser.add_argument(
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
