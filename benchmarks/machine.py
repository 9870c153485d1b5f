"""The origin of a figure: processor, package versions, commit and command."""

import os
import platform
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

__all__ = ["commit", "invocation", "machine", "status_kb"]

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
PACKAGES = ("onnxruntime", "fastapi", "starlette", "uvicorn", "pydantic", "numpy", "pillow")


def machine() -> str:
    """Return the processor with its vector instructions, the number of cores, and versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{_processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}"


def _processor() -> str:
    """Return name, family, model and flags: a cloud's processor name may not tell its generation."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor()
    facts = dict(re.findall(r"^(model name|cpu family|model|flags)\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE))
    has = [flag for flag in FLAGS if flag in facts.get("flags", "").split()]
    number = f"family {facts.get('cpu family', '?')} model {facts.get('model', '?')}"
    return f"{facts.get('model name', platform.processor())} ({number}: {', '.join(has) or 'no AVX2'})"


def commit(folder: Path = Path(__file__).parent) -> str:
    """Return the commit that a checkout is at, with `-dirty` if files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown (no git checkout)"


def status_kb(process: int | str, field: str) -> int:
    """Return a field of /proc/PROCESS/status in kB, such as VmRSS; 0 if the kernel does not report it."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def invocation() -> str:
    """Return the command line of this run."""
    return shlex.join(["uv", "run", "python", "benchmarks/" + Path(sys.argv[0]).name, *sys.argv[1:]])
