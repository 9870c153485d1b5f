"""A server's processes: start, find, measure, pause and end all of them, however the benchmark ends.

Each server starts with a mark, a variable in its environment. Child processes inherit it, so even processes that detach
themselves, such as the workers of Ray or a JVM, are found by it.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from servers import Launch, Server

__all__ = ["Running", "end_on_signals"]

MARK = "BENCHMARK_PROCESS_TREE"
START_SECONDS = 120.0
STOP_SECONDS = 15.0
SETTLE_SECONDS = 60.0
QUIET_CORES = 0.4  # LitServe's idle workers use 0.2 of a core
PORTS = 5  # TorchServe listens on five


class Running:
    """A context manager around a server that has given its first answer; on exit all its processes are ended.

    Attributes:
        port, path, body, content_type: the request to post; `body` is a file.
        first_answer: the text of the first answer.
        seconds_to_first_answer: the time from the start of the process to the first answer.

    """

    def __init__(self, server: Server, bundle: Path, picture: bytes) -> None:
        self._server = server
        self._bundle = bundle
        self._picture = picture
        self._mark = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the server and wait for its first answer."""
        self._scratch = tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)
        try:
            self._start(Path(self._scratch.name))
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all processes of the server."""
        self._stop()

    def _start(self, folder: Path) -> None:
        launch = Launch(self._bundle, _free_ports(PORTS), folder)
        self.port = launch.ports[0]
        self.path = self._server.path.format(name=self._bundle.parent.name)
        content, self.content_type = self._server.encode(self._picture)
        self.body = folder / "body"
        self.body.write_bytes(content)
        command, environment, directory = self._server.launch(launch)
        self._log = folder / "log"
        started = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                env={**os.environ, **environment, MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.first_answer = self._wait(content, started + START_SECONDS)
        self.seconds_to_first_answer = time.perf_counter() - started

    def _wait(self, content: bytes, until: float) -> str:
        headers = {"Content-Type": self.content_type}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{self.path}", content, headers)
        while True:
            try:
                with urllib.request.urlopen(request, timeout=max(1.0, until - time.perf_counter())) as answer:  # noqa: S310
                    return str(answer.read().decode())
            except OSError as error:
                assert self._process is not None  # noqa: S101  `_start` set it
                if self._process.poll() is not None or time.perf_counter() > until:
                    words = self._log.read_text(errors="replace")[-3000:]
                    raise SystemExit(
                        f"{self._server.name} gave no answer: {error}; the end of its log:\n{words}"
                    ) from None
                time.sleep(0.02)

    def _stop(self) -> None:
        """Terminate the server, and kill the processes that are left after STOP_SECONDS."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            terminated = time.monotonic()
            while left := self._processes():
                if time.monotonic() > terminated + STOP_SECONDS:
                    _signal(left, signal.SIGKILL)
                self._process.poll()  # reads the exit code, so that the process does not stay a zombie
                time.sleep(0.05)
            self._process.wait()
        self._scratch.cleanup()

    def _processes(self) -> list[int]:
        """Return the processes with the mark in their environment; a zombie has no environment."""
        found = []
        wanted = f"{MARK}={self._mark}".encode()
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal():
                with contextlib.suppress(OSError):
                    if wanted in (folder / "environ").read_bytes().split(b"\0"):
                        found.append(int(folder.name))
        return found

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause all processes, because some servers poll even when idle and would disturb a measurement."""
        stopped = self._processes()
        _signal(stopped, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(stopped, signal.SIGCONT)

    def settle(self) -> None:
        """Wait until the server has finished the requests that it had accepted when the load ended."""
        until = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < until:
            before = self.cpu_seconds()
            time.sleep(0.25)
            if self.cpu_seconds() - before < 0.25 * QUIET_CORES:
                return
        raise SystemExit(f"{self._server.name} is still busy {SETTLE_SECONDS:g} s after the load")

    def memory(self) -> dict[str, float]:
        """Return `pss_mb` (counts shared pages once) and `rss_mb` in 10^6 bytes over all processes, and `processes`."""
        sums = {"pss_mb": 0.0, "rss_mb": 0.0, "processes": 0.0}
        for process in self._processes():
            with contextlib.suppress(OSError):  # the process has just ended
                text = Path(f"/proc/{process}/smaps_rollup").read_text()
                for name in ("Pss", "Rss"):
                    kilobytes = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
                    sums[f"{name.lower()}_mb"] += int(kilobytes[1]) * 1024 / 1e6 if kilobytes else 0.0
                sums["processes"] += 1
        return sums

    def cpu_seconds(self) -> float:
        """Return the processor time of all processes so far, in seconds."""
        ticks = 0
        for process in self._processes():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def end_on_signals() -> None:
    """Make SIGTERM and SIGHUP unwind the stack as Ctrl-C does, so that no server outlives the benchmark."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def _signal(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def _free_ports(count: int) -> tuple[int, ...]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return tuple(probe.getsockname()[1] for probe in probes)
