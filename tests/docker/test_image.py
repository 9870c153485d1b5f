"""The CPU image is built and run as compose runs it: as another user, with a read-only root, stopped by SIGTERM.

`../shared/tools/build-image` builds it with buildah, on Debian's python3 instead of python:3.11-slim. A mount namespace
and setpriv apply the compose file's container settings, because the tests have no Docker engine.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.docker.programs import COMPOSE, DOCKER, ROOT, answers, eventually, needs, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BUILD = ROOT.parent / "shared" / "tools" / "build-image"
TAG = "localhost/longtail:test"
BUILDAH = {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
SYSTEM_CERTIFICATES = "system-certs = true\n"  # for uv: the script mounts the host's certificates
MAX_MB = 350  # added to the base image: onnxruntime, numpy and the like
APP = "opt/longtail/app"
ABSENT = ("pip", "uv", "cc", "gcc", "make", "git", "curl", "wget", "cmake", "ld")
ADDRESS = "127.0.0.65"
USER = 10001
CONTAINER = """
root=$1 state=$2 models=$3 user=$4 folder=$5; shift 5
mount --bind "$root" "$root"; mount -o remount,bind,ro "$root"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"; mount -t proc proc "$root/proc"; mount --rbind /dev "$root/dev"
mount --bind "$state" "$root/state"; mount --bind "$models" "$root/models"
exec chroot "$root" setpriv --reuid="${user%:*}" --regid="${user#*:}" --clear-groups --no-new-privs \
  --bounding-set=-all --inh-caps=-all sh -c 'cd "$0" && exec "$@"' "$folder" "$@"
"""


@dataclass
class Image:
    """A built image: its configuration, its files and a folder for its volume."""

    config: dict[str, Any]
    root: Path
    state: Path

    def command(self, *command: str, **settings: str) -> list[str]:
        """Return a command line that runs `command` in the image, as its user, with a read-only root file system."""
        environment = COMPOSE["services"]["service"]["environment"] | {"LONGTAIL_HOST": ADDRESS} | settings
        variables = self.config["Env"] + [f"{name}={value}" for name, value in environment.items()]
        inside = [self.config["User"], self.config["WorkingDir"], *command]
        paths = [str(path) for path in (self.root, self.state, ROOT / "models" / "shipped")]
        path = f"PATH={os.environ['PATH']}:/usr/sbin"
        enter = ["env", "-i", path, "unshare", "-m", "sh", "-ec", CONTAINER, "sh", *paths, *inside[:2]]
        return [*enter, "env", "-i", *variables, *inside[2:]]

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(self.command(*command), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Build the image of the target `cpu`; remove it at the end."""
    needs(BUILD.exists(), f"there is no {BUILD.name} in ../shared/tools to build an image with")
    needs(os.geteuid() == 0, "building an image takes root")
    folder = tmp_path_factory.mktemp("image")
    (folder / "uv.toml").write_text(SYSTEM_CERTIFICATES)
    (folder / "state").mkdir()
    os.chown(folder / "state", USER, USER)
    built = subprocess.run(
        [BUILD, DOCKER / "service.Dockerfile", TAG, ROOT, "--format", "docker", "--target", "cpu",
         "-v", f"{folder / 'uv.toml'}:/etc/uv/uv.toml:ro"], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr[-3000:]
    container = buildah("from", TAG)
    try:
        config = json.loads(buildah("inspect", "--type", "image", TAG))["Docker"]["config"]
        yield Image(config, Path(buildah("mount", container)), folder / "state")
    finally:
        buildah("rm", container)
        buildah("rmi", TAG)


def buildah(*arguments: str) -> str:
    command = ["buildah", *arguments]
    done = subprocess.run(command, env=os.environ | BUILDAH, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="module", params=["1", "2"], ids=["one process", "two processes"])
def service(
    image: Image, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a container of the image and wait until it is ready."""
    log = tmp_path_factory.mktemp("service") / "log"
    with started(image.command(*image.config["Entrypoint"], LONGTAIL_WORKERS=request.param), log) as process:
        ready = f"http://{ADDRESS}:8000/readyz"
        eventually(lambda: process.poll() is not None or answers(ready), "the service is ready")
        assert process.poll() is None, log.read_text()
        yield process


def test_it_is_small_and_holds_only_what_serves(image: Image) -> None:
    ours = int(subprocess.run(["du", "-sm", image.root / "opt"], capture_output=True, check=True).stdout.split()[0])
    assert ours < MAX_MB
    assert {path.name for path in (image.root / "opt").iterdir()} == {"longtail"}
    assert {path.name for path in (image.root / APP).iterdir()} == {"LICENSE", "engines", "models", "service"}
    shipped, built = (sorted(p.name for p in (at / "models/shipped").iterdir()) for at in (ROOT, image.root / APP))
    assert shipped == built


def test_it_has_neither_torch_nor_anything_that_builds_or_installs(image: Image) -> None:
    looked = image.run("sh", "-c", f"for name in {' '.join(ABSENT)}; do command -v $name; done; true")
    assert (looked.returncode, looked.stdout) == (0, "")
    for module in ("torch", "pip", "training", "onnx", "pytest"):
        assert image.run("python", "-c", f"import {module}").returncode == 1, module
    assert image.run("python", "-c", "import onnxruntime, grpc, psycopg").returncode == 0


def test_its_user_is_unprivileged_and_can_write_only_to_its_state(image: Image) -> None:
    user = image.config["User"]
    assert user == f"{USER}:{USER}"
    assert image.run("id", "-u").stdout.strip() == str(USER)
    owner = (image.root / "state").stat()
    assert (owner.st_uid, owner.st_gid) == (USER, USER)  # a new volume inherits this owner
    assert not [path for path in (image.root / "opt").rglob("*") if path.lstat().st_uid == USER]
    assert "Read-only" in image.run("touch", "/opt/longtail/x").stderr
    assert image.run("touch", "/state/x", "/tmp/x").returncode == 0  # noqa: S108  the container's own


def test_its_health_check_and_stop_signal_match_the_code(image: Image) -> None:
    check = image.config["Healthcheck"]["Test"]
    assert check == ["CMD", "python", "-m", "service.probe"]
    assert image.config["StopSignal"] == "SIGTERM"
    assert list(image.config["ExposedPorts"]) == ["8000/tcp"]
    refused = image.run(*check[1:])
    assert (refused.returncode, "Connection refused" in refused.stderr) == (1, True)


def test_check_passes_in_the_image(image: Image) -> None:
    done = image.run(*image.config["Entrypoint"], "--check")
    assert done.returncode == 0, done.stderr
    assert "cifar10-lt version 2: 10 classes" in done.stdout
    assert "database sqlite:////state/longtail.db: its tables are up to date" in done.stdout


def test_one_picture_is_another_class_at_another_alpha(image: Image, service: "subprocess.Popen[bytes]") -> None:
    truck = (ROOT / "tests" / "images" / "truck.webp").read_bytes()
    url = f"http://{ADDRESS}:8000/v1/models/cifar10-lt/classify"
    answer = httpx.post(
        url, params={"alpha": ["0", "balanced"]}, content=truck, headers={"Content-Type": "image/webp"}, trust_env=False
    )
    classes = [each["classes"][0]["name"] for each in answer.json()["results"][0]["predictions"]]
    assert classes == ["airplane", "truck"]
    assert image.run(*image.config["Healthcheck"]["Test"][1:]).returncode == 0
    metrics = httpx.get(f"http://{ADDRESS}:8000/metrics", trust_env=False).text
    assert 'longtail_images_total{model="cifar10-lt"} 1.0' in metrics
    assert f"Uid:\t{USER}\t{USER}" in Path(f"/proc/{service.pid}/status").read_text()
    assert "CapEff:\t0000000000000000" in Path(f"/proc/{service.pid}/status").read_text()


def test_sigterm_stops_it_with_exit_code_0_and_keeps_its_state(
    image: Image, service: "subprocess.Popen[bytes]"
) -> None:
    service.send_signal(signal.SIGTERM)
    assert service.wait(timeout=60) == 0
    assert (image.state / "longtail.db").stat().st_uid == USER
