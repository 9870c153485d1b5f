"""Make each peer's virtual environment in benchmarks/.peers/NAME from its requirements.txt.

    uv run python benchmarks/peers/setup.py [NAME ...]

TorchServe needs torch; a CPU build is enough. Pip in TorchServe's environment installs it, so pip's settings decide
where torch comes from. TorchServe also needs Java 11 or 17.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).resolve().parent
ROOT = PEERS.parent.parent
OWN_PIP = {"torchserve"}


def find_uv() -> str:
    """Return uv on the PATH, or the one in this checkout."""
    found = shutil.which("uv") or shutil.which("uv", path=ROOT / ".uv" / "bin")
    if found is None:
        raise SystemExit("uv is neither on the PATH nor in .uv/bin; run `make serve`, which fetches it")
    return found


def set_up(name: str, uv: str) -> None:
    """Make a peer's environment from scratch; remove it if that fails."""
    place = PEERS.parent / ".peers" / name
    requirements = PEERS / name / "requirements.txt"
    python = place / "bin" / "python"
    if name == "torchserve" and shutil.which("java") is None:
        raise SystemExit("TorchServe needs java on the PATH; install Java 11 or 17")
    seed = ["--seed"] if name in OWN_PIP else []
    install = (
        [str(python), "-m", "pip", "install"] if name in OWN_PIP else [uv, "pip", "install", "--python", str(python)]
    )
    try:
        subprocess.run([uv, "venv", "--quiet", "--clear", *seed, "--python", sys.executable, str(place)], check=True)
        subprocess.run([*install, "--quiet", "-r", str(requirements)], check=True)
    except BaseException as error:
        shutil.rmtree(place, ignore_errors=True)
        if isinstance(error, subprocess.CalledProcessError):
            raise SystemExit(f"cannot set up {name}; see the error above") from error
        raise
    print(f"{name}: {place}")


def main() -> None:
    """Set up the named peers, or all."""
    names = sorted(file.parent.name for file in PEERS.glob("*/requirements.txt"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", nargs="*", metavar="NAME", help=f"{', '.join(names)} (default: all)")
    chosen = parser.parse_args().peers or names
    if unknown := sorted(set(chosen) - set(names)):
        parser.error(f"{', '.join(unknown)}: unknown peer; known peers are {', '.join(names)}")
    uv = find_uv()
    for name in chosen:
        set_up(name, uv)


if __name__ == "__main__":
    main()
