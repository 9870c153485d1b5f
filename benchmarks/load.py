"""Load a server with wrk, which needs far less of the shared cores than a Python client would."""

import json
import shutil
import subprocess
from pathlib import Path

__all__ = ["load", "require_wrk"]

SCRIPT = Path(__file__).parent / "load.lua"
TIMEOUT_SECONDS = 300  # long, so that a late answer counts as late, not as an error


def require_wrk() -> None:
    """Exit with a message if wrk is not installed."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk, which creates the load, is not installed; install Debian's package `wrk`")


def load(
    port: int, paths: list[str], body: Path, content_type: str, concurrency: int, seconds: float
) -> dict[str, float]:
    """Post a file's bytes over `concurrency` connections.

    Returns:
        `per_second`: 2xx answers per second; `p50_ms`, `p99_ms`, `max_ms` and `requests` of all answers; `errors`:
        the number of other answers and of connections that broke or timed out.

    """
    options = ["-t1", f"-c{concurrency}", f"-d{seconds:.0f}s", f"--timeout={TIMEOUT_SECONDS}s", f"--script={SCRIPT}"]
    command = ["wrk", *options, f"http://127.0.0.1:{port}", "--", str(body), content_type, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise SystemExit(f"wrk printed no figures: {done.stdout}{done.stderr}") from None
    figures["per_second"] *= 1 - figures["not_2xx"] / max(1, figures["requests"])
    figures["errors"] = figures.pop("not_2xx") + figures.pop("socket_errors") + figures.pop("timeouts")
    return figures
