"""Which connections take too long, looked at once a second; without a network."""

from types import SimpleNamespace
from typing import Any

import pytest

from service.inference.admission import BodyBudget
from service.metrics import Metrics
from service.server.slow_clients import sweep
from service.settings import Settings

SETTINGS = Settings(head_seconds=10, body_seconds=20)


class Connection:
    """One that does what it is told to be doing."""

    def __init__(self, part: str) -> None:
        self.phase: tuple[Any, str] = (object(), part)
        self.progress = 0
        self.seen = None
        self.flow = SimpleNamespace(read_paused=False)
        self.transport = self
        self.refused: list[str] = []

    def refuse(self, error: Exception) -> None:
        self.refused.append(str(error))

    def refuse_surplus(self) -> None:
        self.refused.append("surplus")

    def abort(self) -> None:
        self.refused.append("aborted")


def look(connection: Connection, seconds: float, every: Any = lambda _: None) -> list[str]:
    """Look at it every second for so long, with something happening before each look."""
    context: Any = SimpleNamespace(metrics=Metrics(), settings=SETTINGS, body_budget=BodyBudget(1.0))
    for now in range(int(seconds) + 1):
        every(connection)
        sweep([connection], float(now), context)  # type: ignore[list-item]
        if connection.refused:
            break
    return connection.refused


def more(size: int) -> Any:
    def receive(connection: Connection) -> None:
        connection.progress += size

    return receive


@pytest.mark.parametrize(
    ("part", "seconds", "words"),
    [
        ("surplus", 1, "surplus"),
        ("head", 16, "the request's head has not arrived within 16 s"),
        ("body", 21, "0 bytes of the body in 21 s; send at least 10000 a second on average"),
        ("rest", 21, "0 bytes of the body in 21 s; send at least 10000 a second on average"),
        ("answer", 61, "0 bytes of the answer were taken in 61 s"),
        ("end", 6, "aborted"),
    ],
)
def test_what_takes_too_long_is_refused_and_not_a_second_sooner(part: str, seconds: int, words: str) -> None:
    assert look(Connection(part), seconds - 1) == []
    assert look(Connection(part), seconds) == [words]


def test_work_takes_as_long_as_it_takes() -> None:
    assert look(Connection("work"), 10_000) == []


def test_another_request_starts_anew() -> None:
    def next_request(connection: Connection) -> None:
        connection.phase = (object(), "head")

    assert look(Connection("head"), 1000, next_request) == []


@pytest.mark.parametrize(("per_second", "fine"), [(10_000, True), (9_000, False), (1, False)])
def test_a_body_may_take_long_if_it_keeps_coming(per_second: int, fine: bool) -> None:
    assert (look(Connection("body"), 2000, more(per_second)) == []) == fine


def test_a_body_that_the_server_does_not_read_is_not_the_clients_fault() -> None:
    connection = Connection("body")
    connection.flow.read_paused = True
    assert look(connection, 1000) == []


def test_what_came_fast_buys_no_time_to_do_nothing() -> None:
    """20 MB at once, and the last byte never: it is cut off as if nothing had come before."""
    connection = Connection("body")
    assert look(connection, 1) == []
    connection.progress = 20_000_000
    assert len(look(connection, 50)) == 1


def test_who_takes_an_answer_slowly_is_left_in_peace() -> None:
    assert look(Connection("answer"), 2000, more(2000)) == []


def test_more_of_a_body_that_was_refused_buys_no_time() -> None:
    assert len(look(Connection("rest"), 25, more(10_000_000))) == 1
