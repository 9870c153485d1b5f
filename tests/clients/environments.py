"""Environments for other projects' clients, each with pinned versions in a folder of its own, `.clients/NAME/`.

An environment is made on first use and reused while its pins stay the same. What cannot be had skips the test and says
why: no uv, no node, no network, no version for this machine.
"""

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["ROOT", "newer_libc", "node_environment", "python_environment"]

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / ".clients"
NEWEST = "2026-11-30"  # what the pins depend on is taken as of this day, so that an environment is the same tomorrow
INSTALL_SECONDS = 300
PYTHON = {  # environment -> packages from PyPI
    "client-generators": (
        *("openapi-generator-cli==7.26.0", "openapi-python-client==0.29.1"),
        *("urllib3==2.7.0", "python-dateutil==2.9.0.post0"),  # what the first one's clients need beside pydantic
    ),
    "kserve": ("kserve==0.21.0",),
    "mlserver": ("mlserver==1.7.1",),
    "open-inference": (
        "open-inference-openapi==2.0.0.1",
        "open-inference-grpc==2.0.0",
        "protobuf==7.36.2",  # open-inference-grpc needs it and does not say so
    ),
    "perf-analyzer": ("perf-analyzer==2.60.0",),
    "pytriton": ("nvidia-pytriton==0.7.0",),
}
DEBIAN = ("libc6", "libgcc-s1", "libssl3t64", "libstdc++6", "libzstd1", "zlib1g")  # from Debian 13
NODE = {  # environment -> packages from npm
    "openapi-linters": ("@redocly/cli@2.77.0", "@stoplight/spectral-cli@6.16.3"),
    "typescript-client": (
        *("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3", "@types/node@20.19.43"),
    ),
}


def python_environment(name: str, *, glibc: str | None = None) -> Path:
    """Return the folder of a virtual environment with the packages of PYTHON[name]; its programs are in `bin/`.

    Args:
        name: a key of PYTHON.
        glibc: take wheels for this version of glibc, such as "2.39", even if the machine's is older.

    """
    packages = PYTHON[name]
    uv = shutil.which("uv") or shutil.which("uv", path=ROOT / ".uv" / "bin")
    if uv is None:
        pytest.skip(f"{name}: uv is neither on the PATH nor in .uv/bin; `make test-clients` fetches it")
    place = CLIENTS / name
    if _is_made(place, packages):
        return place
    wheels = [] if glibc is None else ["--python-platform", f"{platform.machine()}-manylinux_{glibc.replace('.', '_')}"]
    install = [uv, "pip", "install", "--quiet", "--python", str(place / "bin" / "python"), "--exclude-newer", NEWEST]
    _run(name, uv, "venv", "--quiet", "--python", sys.executable, str(place))
    _run(name, *install, *wheels, *packages)
    _note(place, packages)
    return place


def node_environment(name: str) -> Path:
    """Return a folder with the packages of NODE[name] from npm; their programs are in `node_modules/.bin/`."""
    packages = NODE[name]
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"{name}: npm is not on the PATH; install node, which comes with it")
    place = CLIENTS / name
    if _is_made(place, packages):
        return place
    place.mkdir(parents=True)
    _run(name, npm, "install", "--prefix", str(place), "--no-audit", "--no-fund", "--before", NEWEST, *packages)
    _note(place, packages)
    return place


def newer_libc(version: str) -> list[str]:
    """Return how to start a program that needs this version of glibc: words to put before its own.

    Empty if the machine has it. Otherwise Debian 13's libraries are unpacked in `.clients/debian-13`, and its loader
    starts the program with them; nothing of the machine is changed.
    """
    have = platform.libc_ver()[1]
    if have and [int(part) for part in have.split(".")] >= [int(part) for part in version.split(".")]:
        return []
    name = "debian-13"
    if shutil.which("apt-get") is None:
        pytest.skip(f"glibc {version} is needed, there is {have}, and there is no apt-get to get Debian 13's")
    place = CLIENTS / name
    root = place / "root"
    if not _is_made(place, DEBIAN):
        (place / "lists" / "partial").mkdir(parents=True)
        (place / "status").touch()
        of_debian = ("Identifier: Packages", "Origin: Debian", "Label: Debian", "Component: main")
        sites = _run(name, "apt-get", "indextargets", "--format", "$(SITE)", *of_debian).split()
        if not sites:
            pytest.skip(f"glibc {version} is needed, there is {have}, and apt-get has no source of Debian's packages")
        keys = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
        (place / "sources.list").write_text(f"deb {keys} {sites[0]} trixie main\n")
        own = {
            "Dir::State": place, "Dir::State::status": place / "status", "Dir::Cache": place / "cache",
            "Dir::Etc::sourcelist": place / "sources.list", "Dir::Etc::sourceparts": "-", "APT::Sandbox::User": "root",
        }  # fmt: skip
        apt = ["apt-get", "--quiet", *(f"--option={key}={value}" for key, value in own.items())]
        _run(name, *apt, "update")
        _run(name, *apt, "download", *DEBIAN, cwd=place)
        for package in place.glob("*.deb"):
            _run(name, "dpkg", "--extract", str(package), str(root))
        _note(place, DEBIAN)
    loader = next(root.glob("usr/lib/*/ld-linux-*.so.*"))
    return [str(loader), "--library-path", str(loader.parent)]


def _is_made(place: Path, packages: tuple[str, ...]) -> bool:
    """Tell whether the folder has these packages; if not, remove it, so that it can be made."""
    note = place / "pins.json"
    if note.is_file() and json.loads(note.read_text()) == [NEWEST, sys.version, *packages]:
        return True
    shutil.rmtree(place, ignore_errors=True)
    return False


def _note(place: Path, packages: tuple[str, ...]) -> None:
    """Write down what the folder has, once it is complete."""
    (place / "pins.json").write_text(json.dumps([NEWEST, sys.version, *packages]))


def _run(name: str, *command: str, cwd: Path | None = None) -> str:
    """Return what a command prints; skip the test with its error if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False, cwd=cwd)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{name}: cannot be installed: `{' '.join(command)}` took over {INSTALL_SECONDS} s")
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split())[-600:]
        pytest.skip(f"{name}: cannot be installed: {reason}")
    return done.stdout
