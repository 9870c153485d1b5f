"""What a figure has to say about where it comes from: processor, versions, commit, command."""

import os
import platform
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

__all__ = ["commit", "invocation", "machine"]

PACKAGES = ("onnxruntime", "fastapi", "starlette", "uvicorn", "pydantic", "numpy", "pillow")


def machine() -> str:
    """Processor, cores, versions."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else [platform.processor()]
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{names[0]}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}"


def commit() -> str:
    """The commit this code is at, `-dirty` where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown (no git checkout)"


def invocation() -> str:
    """The command as it was given."""
    return shlex.join(["uv", "run", "python", "benchmarks/" + Path(sys.argv[0]).name, *sys.argv[1:]])
