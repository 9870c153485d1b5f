"""Loads a server with wrk, which costs a fraction of what a client in Python would of the cores that both share."""

import json
import shutil
import subprocess
from pathlib import Path

__all__ = ["load", "require_wrk"]

SCRIPT = Path(__file__).parent / "load.lua"
TIMEOUT_SECONDS = 300  # nothing is given up: an answer that comes late is late


def require_wrk() -> None:
    """Exit with a sentence where wrk is missing."""
    if shutil.which("wrk") is None:
        raise SystemExit("the load comes from wrk, which is not installed; it is Debian's package `wrk`")


def load(
    port: int, paths: list[str], body: Path, content_type: str, concurrency: int, seconds: float
) -> dict[str, float]:
    """Post the file's bytes over `concurrency` connections.

    Returns:
        `per_second` of the answers that were 2xx, `p50_ms`, `p99_ms`, `max_ms` and `requests` of all, and `errors`:
        answers that were not 2xx, and connections that broke or timed out.

    """
    options = ["-t1", f"-c{concurrency}", f"-d{seconds:.0f}s", f"--timeout={TIMEOUT_SECONDS}s", f"--script={SCRIPT}"]
    command = ["wrk", *options, f"http://127.0.0.1:{port}", "--", str(body), content_type, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise SystemExit(f"wrk said no figures, but: {done.stdout}{done.stderr}") from None
    figures["per_second"] *= 1 - figures["not_2xx"] / max(1, figures["requests"])
    figures["errors"] = figures.pop("not_2xx") + figures.pop("socket_errors") + figures.pop("timeouts")
    return figures
