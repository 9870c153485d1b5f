"""The servers that are measured, our service and the peers in `peers/`: how to start each and send it a picture."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["OURS", "ROOT", "Launch", "Server", "known_servers", "longtail", "measurable"]

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / "peers"
OURS = "longtail"
ENVIRONMENTS = ROOT / "benchmarks" / ".peers"  # made by peers/setup.py


@dataclass(frozen=True)
class Launch:
    """The inputs of a server's start.

    Args:
        bundle: the model, NAME/VERSION.
        ports: free ports on 127.0.0.1; the first one is measured.
        folder: a scratch folder for this server, removed afterwards.

    """

    bundle: Path
    ports: tuple[int, ...]
    folder: Path


def media_type(picture: bytes) -> str:
    """Return the media type, JPEG or WebP, by the first bytes."""
    return "image/jpeg" if picture.startswith(b"\xff\xd8") else "image/webp"


def raw(picture: bytes) -> tuple[bytes, str]:
    """Return the picture as the request body, and its media type."""
    return picture, media_type(picture)


@dataclass(frozen=True)
class Server:
    """A server to measure.

    Args:
        name: its name on the command line.
        command: returns the command that starts it; may prepare files in the scratch folder.
        path: the path for pictures; `{name}` is replaced by the model's name.
        encode: returns the request body of a picture and its content type.
        environment: its variables; `{port0}`, `{port1}` … and `{folder}` are replaced by those of the Launch.
        batches: whether it computes several requests as one batch.
        root: the checkout that our service starts in; None for a peer, which starts in its scratch folder.

    """

    name: str
    command: Callable[[Launch], list[str]]
    path: str = "/classify"
    encode: Callable[[bytes], tuple[bytes, str]] = raw
    environment: dict[str, str] = field(default_factory=dict)
    batches: bool = True
    root: Path | None = None

    def launch(self, launch: Launch) -> tuple[list[str], dict[str, str], Path]:
        """Return the command, its variables, and the folder to start it in."""
        ports = {f"port{index}": str(port) for index, port in enumerate(launch.ports)}
        variables = {name: text.format(folder=launch.folder, **ports) for name, text in self.environment.items()}
        if self.root is not None:
            return self.command(launch), variables, self.root
        variables |= {"PEER_BUNDLE": str(launch.bundle), "PYTHONPATH": str(PEERS / "shared")}
        return self.command(launch), variables, launch.folder


def longtail(cache_mb: int = 0, precision: str = "float32", root: Path = ROOT) -> Server:
    """Return our service with its default settings, except the response cache and the precision.

    Args:
        cache_mb: size of the response cache; 0 turns it off.
        precision: `float32` or `bfloat16`.
        root: the checkout to take the service from.

    """

    def command(launch: Launch) -> list[str]:
        models = launch.folder / "models"
        shutil.copytree(launch.bundle, models / launch.bundle.parent.name / launch.bundle.name)
        flags = {"port": launch.ports[0], "models": models, "database": f"sqlite:///{launch.folder}/results.db"}
        flags |= {"log-level": "warning"} | ({"cache-mb": cache_mb} if has_cache() else {})
        flags |= {} if precision == "float32" else {"precision": precision}
        arguments = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        return [sys.executable, "-m", "service", *arguments]

    name = OURS if precision == "float32" else f"{OURS}-{precision}"
    name += f", cache of {cache_mb} MB" if cache_mb else ""
    return Server(name, command, "/v1/models/{name}/classify?alpha=1", root=root)


def has_cache() -> bool:
    """Return whether this version of the service has a response cache."""
    from service.settings import Settings  # noqa: PLC0415  the peers' side of this file needs no service

    return "cache_mb" in Settings.model_fields


def _tool(peer: str, tool: str) -> str:
    return str(ENVIRONMENTS / peer / "bin" / tool)


def _fastapi(module: str) -> Callable[[Launch], list[str]]:
    def command(launch: Launch) -> list[str]:
        arguments = ["--app-dir", str(PEERS / "fastapi"), "--workers", "2", "--port", str(launch.ports[0])]
        return [_tool("fastapi", "uvicorn"), f"{module}:app", *arguments, "--log-level", "warning", "--no-access-log"]

    return command


def _litserve(_: Launch) -> list[str]:
    return [_tool("litserve", "python"), str(PEERS / "litserve" / "server.py")]


def _bentoml(launch: Launch) -> list[str]:
    arguments = ["--port", str(launch.ports[0]), "--working-dir", str(PEERS / "bentoml")]
    return [_tool("bentoml", "bentoml"), "serve", "service:Service", *arguments]


def _mlserver(_: Launch) -> list[str]:
    return [_tool("mlserver", "mlserver"), "start", str(PEERS / "mlserver")]


def _ray(_: Launch) -> list[str]:
    return [_tool("ray", "python"), str(PEERS / "ray" / "server.py")]


def _torchserve(launch: Launch) -> list[str]:
    settings = (PEERS / "torchserve" / "config.properties").read_text()
    for name, port in zip(("inference", "management", "metrics"), launch.ports[:3], strict=True):
        settings += f"{name}_address=http://127.0.0.1:{port}\n"
    for name, port in zip(("inference", "management"), launch.ports[3:], strict=True):
        settings += f"grpc_{name}_port={port}\n"
    config = launch.folder / "config.properties"
    config.write_text(settings)
    archive = ["--model-name", "model", "--version", "1.0", "--handler", str(PEERS / "torchserve" / "handler.py")]
    archive += ["--config-file", str(PEERS / "torchserve" / "model-config.yaml"), "--export-path", str(launch.folder)]
    subprocess.run([_tool("torchserve", "torch-model-archiver"), *archive], check=True)
    path = f"PATH={ENVIRONMENTS}/torchserve/bin:{os.environ['PATH']}"  # TorchServe starts its workers as `python`
    flags = ["--start", "--foreground", "--ncs", "--disable-token-auth", "--ts-config", str(config)]
    flags += ["--model-store", str(launch.folder), "--models", "model=model.mar"]
    return ["env", path, _tool("torchserve", "torchserve"), *flags]


def _form(picture: bytes) -> tuple[bytes, str]:
    boundary = "--------picture"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="picture"\r\n'
    head += f"Content-Type: {media_type(picture)}\r\n\r\n"
    return head.encode() + picture + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _open_inference(picture: bytes) -> tuple[bytes, str]:
    encoded = {"name": "encoded", "shape": [1, 1], "datatype": "BYTES", "data": [base64.b64encode(picture).decode()]}
    return json.dumps({"inputs": [encoded | {"parameters": {"content_type": "base64"}}]}).encode(), "application/json"


_TORCHSERVE = {"TEMP": "{folder}", "LOG_LOCATION": "{folder}/logs", "METRICS_LOCATION": "{folder}/logs"}
_BENTOML = {"BENTOML_HOME": "{folder}", "BENTOML_DO_NOT_TRACK": "True"}
_MLSERVER = {f"MLSERVER_{name}_PORT": f"{{port{index}}}" for index, name in enumerate(("HTTP", "GRPC", "METRICS"))}
_MLSERVER |= {"MLSERVER_HOST": "127.0.0.1", "MLSERVER_METRICS_DIR": "{folder}/metrics"}
_MLSERVER |= {"MLSERVER_ENVIRONMENTS_DIR": "{folder}/environments"}
_RAY = {"PEER_PORT": "{port0}", "PEER_FOLDER": "{folder}", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
_RAY |= {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}


def known_servers() -> dict[str, Server]:
    """Return all servers by name."""
    servers = (
        longtail(),
        longtail(precision="bfloat16"),
        Server("torchserve", _torchserve, "/predictions/model", environment=_TORCHSERVE),
        Server("fastapi", _fastapi("server"), batches=False),
        Server("fastapi-async", _fastapi("server_async"), batches=False),
        Server("litserve", _litserve, environment={"PEER_PORT": "{port0}"}),
        Server("bentoml", _bentoml, encode=_form, environment=_BENTOML),
        Server("mlserver", _mlserver, "/v2/models/model/infer", _open_inference, _MLSERVER),
        Server("ray", _ray, environment=_RAY),
    )
    return {server.name: server for server in servers}


def measurable() -> list[str]:
    """Return the names of the servers that can run here: ours in this CPU's precisions, and the installed peers."""
    from engines.openvino import has_bfloat16  # noqa: PLC0415  the peers' side of this file needs no service

    names = list(known_servers())
    ours = [OURS, f"{OURS}-bfloat16"] if has_bfloat16() else [OURS]
    return [name for name in names if name in ours or (ENVIRONMENTS / name.partition("-")[0] / "bin").is_dir()]
