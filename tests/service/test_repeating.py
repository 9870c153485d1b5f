"""A repeating thread keeps its interval, can be woken, survives its step's errors, and closes in bounded time."""

import logging
import threading
import time
from collections.abc import Callable

import pytest

from service.repeating import Repeating

PATIENCE = 30.0


class Steps:
    """Counts the rounds of a thread; each may pause, raise or block as the test says."""

    def __init__(self, pause: float | None = None, error: Exception | None = None) -> None:
        self.pause = pause
        self.error = error
        self.gate = threading.Event()
        self.gate.set()
        self.times: list[float] = []
        self.daemon = False
        self._ran = threading.Semaphore(0)

    def __call__(self) -> float | None:
        self.times.append(time.monotonic())
        self.daemon = threading.current_thread().daemon
        self._ran.release()
        assert self.gate.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return self.pause

    def wait(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            assert self._ran.acquire(timeout=PATIENCE)


def repeating(step: Callable[[], float | None], **options: float) -> Repeating:
    return Repeating("test", step, failure="the test does not work", **options)  # type: ignore[arg-type]


def test_a_step_decides_how_long_to_pause() -> None:
    steps = Steps(pause=0.05)
    thread = repeating(steps)
    thread.start()
    steps.wait(3)
    thread.close()
    assert min(after - before for before, after in zip(steps.times, steps.times[1:], strict=False)) >= 0.05
    assert steps.daemon


def test_the_first_round_waits_for_the_first_pause() -> None:
    steps = Steps()
    thread = repeating(steps, first_pause=0.05)
    started = time.monotonic()
    thread.start()
    steps.wait()
    thread.close()
    assert steps.times[0] - started >= 0.05


def test_without_a_pause_a_round_follows_the_next_at_once() -> None:
    steps = Steps(pause=0.0)
    thread = repeating(steps)
    thread.start()
    steps.wait(100)
    thread.close()


def test_waking_ends_a_pause_without_end() -> None:
    steps = Steps(pause=None)
    thread = repeating(steps)
    thread.start()
    for _ in range(3):
        steps.wait()
        thread.wake()
    steps.wait()
    thread.close()
    assert len(steps.times) == 4


def test_waking_during_a_step_is_not_lost() -> None:
    steps = Steps(pause=None)
    steps.gate.clear()
    thread = repeating(steps)
    thread.start()
    steps.wait()
    thread.wake()
    steps.gate.set()
    steps.wait()
    thread.close()


def test_a_step_that_raises_is_logged_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    steps = Steps(pause=0.001, error=KeyError("broken"))
    thread = repeating(steps, retry_seconds=0.001)
    thread.start()
    steps.wait(5)
    assert [(each.levelno, each.message) for each in caplog.records] == [(logging.ERROR, "the test does not work")]
    steps.error = None
    steps.wait(5)  # at least one of them has succeeded
    steps.error = KeyError("broken again")
    steps.wait(5)
    thread.close()
    assert len(caplog.records) == 2


def test_closing_ends_a_pause_and_the_thread() -> None:
    steps = Steps(pause=None)
    thread = repeating(steps)
    thread.start()
    steps.wait()
    thread.close()
    assert thread.closing
    assert not thread._thread.is_alive()
    assert len(steps.times) == 1


def test_a_last_step_runs_after_closing() -> None:
    steps = Steps(pause=None)
    thread = repeating(steps, first_pause=60.0, last_step=True)
    thread.start()
    thread.close()
    assert not thread._thread.is_alive()
    assert len(steps.times) == 1


def test_closing_does_not_wait_long_for_a_step_that_hangs() -> None:
    steps = Steps()
    steps.gate.clear()
    thread = repeating(steps)
    thread.start()
    steps.wait()
    started = time.monotonic()
    thread.close(wait_seconds=0.05)
    assert time.monotonic() - started < PATIENCE / 2
    assert thread._thread.is_alive()
    steps.gate.set()
    thread._thread.join(PATIENCE)
    assert not thread._thread.is_alive()


def test_closing_before_starting_is_allowed() -> None:
    repeating(Steps()).close()


def test_a_close_while_the_wake_up_is_cleared_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = repeating(Steps(pause=None))
    clear = thread._wake.clear

    def close_then_clear() -> None:
        thread._closing = True  # what `close` does in another thread, at the worst moment
        thread._wake.set()
        clear()

    monkeypatch.setattr(thread._wake, "clear", close_then_clear)
    thread.start()
    thread._thread.join(PATIENCE)
    assert not thread._thread.is_alive()
