"""The settings in groups: each group is a heading of `service --help` and of docs/reference/settings.md.

A setting belongs to the group that declares it. `settings.py` makes one value of all groups, and reads it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from models.cores import CORES

__all__ = ["GROUPS", "SHIPPED_MODELS", "Access", "Computing", "Ending", "Limits", "Models", "Network", "Storage"]

SHIPPED_MODELS = Path(__file__).resolve().parent.parent / "models" / "shipped"


class Group(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Network(Group):
    """The address, and what a connection may take."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    grpc_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="port of the Open Inference Protocol over gRPC; 0 turns gRPC off, and grpcio is not needed",
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
    keep_alive_seconds: int = Field(
        75,
        ge=1,
        le=86_400,
        description="seconds for which a connection may be idle between two requests; set it higher than the idle time "
        "of a proxy in front of the server",
    )
    head_seconds: float = Field(10.0, gt=0, le=3600, description="seconds within which a request's head must arrive")
    body_seconds: float = Field(
        20.0,
        gt=0,
        le=3600,
        description="seconds within which a body must arrive; extended as long as it arrives at 10 kB a second or "
        "faster",
    )


class Models(Group):
    """The models folder."""

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


class Computing(Group):
    """Devices, processes, threads, batches and the cache."""

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
    cache_mb: float = Field(
        32.0,
        ge=0,
        le=100_000,
        description="size of the response cache in megabytes; 0 turns it off",
    )


class Limits(Group):
    """What is accepted."""

    max_pending_images: int = Field(
        512, ge=1, description="maximum number of pictures accepted and not answered yet; further requests get 503"
    )
    max_pending_mb: float = Field(
        256.0,
        gt=0,
        le=1_000_000,
        description="maximum size of all request bodies in memory, in megabytes; further requests get 503",
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
    max_feedback: int = Field(1000, ge=1, description="maximum number of labels in one feedback request")


class Storage(Group):
    """The database and what is kept there."""

    database: str = Field(
        "sqlite:///state/longtail.db",
        repr=False,
        description="database for feedback, operating points and jobs: sqlite:///FILE or "
        "postgresql://USER:PASSWORD@HOST/NAME",
    )
    database_password_file: Path | None = Field(
        None, description="file with the database password, for a postgresql:// URL without one"
    )
    keep_results: int = Field(
        10_000,
        ge=0,
        description="number of recent results kept for each model, so that feedback can refer to them; 0 keeps none",
    )
    keep_results_seconds: float = Field(3600.0, gt=0, description="seconds for which a result is kept")
    keep_feedback: int = Field(
        1_000_000, ge=1, description="number of labels kept for each model; the oldest are dropped first"
    )
    drift_labels: int = Field(1000, ge=1, description="number of newest labels that drift is measured on")


class Access(Group):
    """API keys."""

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


class Ending(Group):
    """How a process ends, and the log."""

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
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe level that is logged"
    )


GROUPS: Mapping[str, type[Group]] = {  # heading -> settings, in the order of --help
    "network": Network,
    "models": Models,
    "computing": Computing,
    "limits": Limits,
    "storage": Storage,
    "access": Access,
    "ending and log": Ending,
}
