"""All the service can be told, in one frozen value: from LONGTAIL_* in the environment, and flags, which win.

A name in the environment that starts with LONGTAIL_ but means nothing is refused: a misspelt limit is no limit.
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
SECRET = frozenset({"database", "api_keys"})  # a value may hold a password, or a key put there by mistake
SHIPPED_MODELS = Path(__file__).resolve().parent.parent / "models" / "shipped"


class SettingsError(Exception):
    """The environment or a flag says something that cannot be used."""


class Settings(BaseModel):
    """The service's settings; every field is also `LONGTAIL_<FIELD>` and `--<field>`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    grpc_port: int = Field(
        0, ge=0, le=65535, description="port of the Open Inference Protocol over gRPC; 0 is none, and needs no grpcio"
    )
    models: Path = Field(
        SHIPPED_MODELS, description="folder that holds NAME/VERSION bundles; each NAME's highest is served"
    )
    watch_seconds: float = Field(
        1.0,
        ge=0,
        le=3600,
        description="seconds between two looks at that folder; 0: only at start and when asked to load",
    )
    serve_versions: int = Field(1, ge=1, le=64, description="how many of a model's highest good versions are served")
    device: Literal["cpu", "cuda"] = Field(
        "cpu", description="where to compute; cuda is never silently replaced by cpu"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="what to compute in; bfloat16 takes about half the time on a CPU that has it, with OpenVINO (group "
        "openvino), and is never silently replaced",
    )
    workers: int = Field(1, ge=1, le=64, description="server processes; each loads all models")
    inference_threads: int = Field(
        CORES + 1,
        ge=1,
        le=256,
        description="batches computed at a time, one CPU thread each; one more than there are cores keeps those busy "
        "while a thread waits for the interpreter",
    )
    decode_threads: int = Field(
        CORES,
        ge=1,
        le=256,
        description="pictures decoded at a time, by the same threads; more than inference_threads where a GPU computes",
    )
    max_batch_images: int = Field(
        16, ge=1, le=1024, description="most images computed at once; fewer where a model is measured to gain nothing"
    )
    max_pending_images: int = Field(512, ge=1, description="most images accepted and not answered yet; beyond it: 503")
    cache_mb: float = Field(
        32.0,
        ge=0,
        le=100_000,
        description="room for the answers of pictures that may come again, in megabytes; 0: none",
    )
    max_body_mb: float = Field(20.0, gt=0, le=1024, description="largest request body, in megabytes (10^6 bytes)")
    max_json_mb: float = Field(1.0, gt=0, le=1024, description="largest JSON body, in megabytes")
    max_pixels: int = Field(
        50_000_000,
        ge=1,
        description="largest picture, width × height, found out before decoding, which takes up to 27 bytes a pixel",
    )
    max_files: int = Field(64, ge=1, description="most pictures in one multipart request")
    max_alphas: int = Field(128, ge=1, description="most values of alpha in one request")
    max_alpha: float = Field(100.0, gt=0, le=1e6, description="largest size of alpha")
    max_archive_mb: float = Field(
        1000.0, gt=0, le=100_000, description="largest archive of labelled pictures to choose alpha on, in megabytes"
    )
    max_archive_files: int = Field(100_000, ge=1, description="most files in such an archive")
    keep_results: int = Field(
        10_000, ge=0, description="results of each model kept so that feedback finds their numbers; 0 keeps none"
    )
    keep_results_seconds: float = Field(3600.0, gt=0, description="how long a result is kept for feedback")
    keep_feedback: int = Field(1_000_000, ge=1, description="labels kept of each model, the newest")
    max_feedback: int = Field(1000, ge=1, description="most labels in one request")
    drift_labels: int = Field(1000, ge=1, description="newest labels that drift is measured on")
    max_pending_mb: float = Field(
        256.0, gt=0, le=1_000_000, description="request bodies in memory at a time, in megabytes; beyond it: 503"
    )
    max_connections: int = Field(
        4096, ge=1, le=1_000_000, description="most connections of each process; beyond it they are answered with 503"
    )
    max_head_kb: float = Field(
        32.0, ge=1, le=1024, description="largest head of a request, address and headers, in kilobytes (1000 bytes)"
    )
    head_seconds: float = Field(10.0, gt=0, le=3600, description="how long a request's head may take to arrive")
    body_seconds: float = Field(
        20.0, gt=0, le=3600, description="how long its body may take, and as long again whenever 10 kB a second came"
    )
    stuck_seconds: float = Field(
        60.0,
        ge=0,
        le=86_400,
        description="a thread that works on one batch or picture for longer hangs: those who wait for it are told, "
        "/livez says 503, and the process ends to be replaced; 0: never",
    )
    grace_seconds: float = Field(
        0.0,
        ge=0,
        le=3600,
        description="after SIGTERM, how long requests are still taken while /readyz says 503 already, so that load "
        "balancers notice",
    )
    drain_seconds: int = Field(30, ge=0, description="how long accepted work may take after that")
    database: str = Field(
        "sqlite:///state/longtail.db",
        repr=False,
        description="where feedback and operating points are kept: sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/NAME",
    )
    database_password_file: Path | None = Field(
        None, description="file that holds the password of a postgresql:// database whose URL has none"
    )
    api_keys_file: Path | None = Field(
        None,
        description="file of API keys, a line each, as `python -m service.keys` prints them; without keys all may call",
    )
    api_keys: str | None = Field(
        None, repr=False, description="the same lines, with ; or line ends between them; beside the file's"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="how much is logged")

    @field_validator("precision")
    @classmethod
    def _is_computed_there(cls, precision: str, others: ValidationInfo) -> str:
        if precision == "bfloat16" and others.data.get("device") == "cuda":
            raise ValueError("with device cuda only float32 is computed")
        return precision

    @field_validator("database")
    @classmethod
    def _is_a_url(cls, text: str) -> str:
        from service.storage.sql_engines import read_url  # noqa: PLC0415  SQLAlchemy takes a while, and most need not wait

        read_url(text)
        return text

    @field_validator("api_keys")
    @classmethod
    def _holds_keys(cls, text: str | None) -> str | None:
        if text is not None and not read_keys(text.replace(";", "\n")):
            raise ValueError("it holds no key; leave it out where everybody may call")
        return text

    @field_validator("database_password_file")
    @classmethod
    def _holds_a_password(cls, file: Path | None, others: ValidationInfo) -> Path | None:
        if file is not None and "database" in others.data:
            from service.storage.sql_engines import with_password  # noqa: PLC0415  as above

            with_password(others.data["database"], file)
        return file

    @classmethod
    def read(cls, environment: Mapping[str, str], flags: Mapping[str, Any] | None = None) -> Self:
        """Return the settings of an environment and of flags already parsed; flags win.

        Raises:
            SettingsError: an unknown LONGTAIL_ name, or a value that does not fit; the sentence names it.

        """
        known = {f"{PREFIX}{name.upper()}": name for name in cls.model_fields}
        values: dict[str, Any] = {}
        for variable, value in environment.items():
            if variable in known:
                values[known[variable]] = value
            elif variable.startswith(PREFIX):
                near = difflib.get_close_matches(variable, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(known))}"
                raise SettingsError(f"{variable} is not a setting; {hint}")
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
        """Give a parser one flag per field; a flag that is not used leaves no value behind."""
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
        """Return the same settings as LONGTAIL_ variables, for processes started from this one."""
        given = {name: value for name, value in self.model_dump().items() if value is not None}
        return {f"{PREFIX}{name.upper()}": str(value) for name, value in given.items()}

    @property
    def database_url(self) -> str:
        """The database's URL, the password from its file in it; so never to be shown."""
        from service.storage.sql_engines import with_password  # noqa: PLC0415  as above

        return (
            with_password(self.database, self.database_password_file) if self.database_password_file else self.database
        )

    @property
    def max_body_bytes(self) -> int:
        """Largest request body in bytes."""
        return int(self.max_body_mb * 1_000_000)


def _shown(default: object) -> str:
    return "models/shipped" if default == SHIPPED_MODELS else "none" if default is None else str(default)
