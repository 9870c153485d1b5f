"""Which connections are refused as too slow, without a network."""

from collections.abc import Callable

import pytest

from service.errors import ServiceError
from service.inference.admission import BodyBudget
from service.metrics import Metrics
from service.server.connection_phase import Phase
from service.server.slow_clients import SlowClients
from service.settings import Settings

SETTINGS = Settings(head_seconds=10, body_seconds=20)


class Connection:
    """A connection in one phase, which records how it is refused."""

    def __init__(self, phase: Phase) -> None:
        self.phase: tuple[object, Phase] = (object(), phase)
        self.progress = 0
        self.reading_paused = False
        self.refused: list[str] = []

    def refuse(self, error: ServiceError) -> None:
        self.refused.append(str(error))

    def refuse_surplus(self) -> None:
        self.refused.append("surplus")

    def close_if_idle(self) -> None:
        self.refused.append("closed")

    def abort(self) -> None:
        self.refused.append("aborted")


def check(connection: Connection, seconds: int, before_each: Callable[[Connection], None] | None = None) -> list[str]:
    """Check the connection every second until it is refused or the time is over; return the refusals."""
    slow_clients = SlowClients(SETTINGS, Metrics(), BodyBudget(1.0))
    for now in range(seconds + 1):
        if before_each is not None:
            before_each(connection)
        slow_clients.check([connection], float(now))
        if connection.refused:
            break
    return connection.refused


def receives(size: int) -> Callable[[Connection], None]:
    def receive(connection: Connection) -> None:
        connection.progress += size

    return receive


@pytest.mark.parametrize(
    ("phase", "seconds", "message"),
    [
        (Phase.SURPLUS, 1, "surplus"),
        (Phase.HEAD, 11, "the request's head did not arrive within 11 s"),
        (Phase.BODY, 21, "0 bytes of the body arrived in 21 s; send at least 10000 bytes a second on average"),
        (Phase.REFUSED_BODY, 21, "0 bytes of the body arrived in 21 s; send at least 10000 bytes a second on average"),
        (Phase.ANSWER, 61, "the client read 0 bytes of the answer in 61 s"),
        (Phase.CLOSING, 6, "aborted"),
    ],
)
def test_a_slow_client_is_refused_and_not_a_second_too_early(phase: Phase, seconds: int, message: str) -> None:
    assert check(Connection(phase), seconds - 1) == []
    assert check(Connection(phase), seconds) == [message]


@pytest.mark.parametrize("phase", [Phase.WORK, Phase.IDLE])
def test_neither_work_nor_an_idle_connection_has_a_time_limit_here(phase: Phase) -> None:
    assert check(Connection(phase), 10_000) == []


def test_a_head_may_take_as_long_after_an_idle_time_as_on_a_new_connection() -> None:
    connection = Connection(Phase.IDLE)
    request = connection.phase[0]
    seconds: list[int] = []

    def begin_at_fifty(each: Connection) -> None:
        each.phase = (request, Phase.HEAD if len(seconds) >= 50 else Phase.IDLE)
        seconds.append(1)

    assert check(connection, 60, begin_at_fifty) == []
    seconds.clear()
    assert check(connection, 61, begin_at_fifty) == ["the request's head did not arrive within 11 s"]


def test_the_longest_idle_connections_make_room_once_all_are_in_use() -> None:
    slow_clients = SlowClients(Settings(max_connections=16), Metrics(), BodyBudget(1.0))
    connections = [Connection(Phase.WORK) for _ in range(8)] + [Connection(Phase.IDLE) for _ in range(8)]
    for count in range(8, 16):
        slow_clients.check(connections[:count], float(count))
        assert not any(each.refused for each in connections)
    slow_clients.check(connections, 16.0)
    assert [each.refused for each in connections] == [[]] * 8 + [["closed"]] * 2 + [[]] * 6


def test_another_request_starts_a_new_time_limit() -> None:
    def next_request(connection: Connection) -> None:
        connection.phase = (object(), Phase.HEAD)

    assert check(Connection(Phase.HEAD), 1000, next_request) == []


@pytest.mark.parametrize(("per_second", "accepted"), [(10_000, True), (9_000, False), (1, False)])
def test_a_body_may_take_long_if_it_keeps_arriving(per_second: int, accepted: bool) -> None:
    assert (check(Connection(Phase.BODY), 2000, receives(per_second)) == []) == accepted


def test_a_body_that_the_server_does_not_read_is_not_the_clients_fault() -> None:
    connection = Connection(Phase.BODY)
    connection.reading_paused = True
    assert check(connection, 1000) == []


def test_a_fast_start_buys_no_time_to_do_nothing() -> None:
    """20 MB arrive at once and the last byte never does: the client is refused as if nothing had arrived before."""
    connection = Connection(Phase.BODY)
    assert check(connection, 1) == []
    connection.progress = 20_000_000
    assert len(check(connection, 50)) == 1


def test_a_client_may_read_its_answer_slowly() -> None:
    assert check(Connection(Phase.ANSWER), 2000, receives(2000)) == []


def test_the_rest_of_a_refused_body_buys_no_time() -> None:
    assert len(check(Connection(Phase.REFUSED_BODY), 25, receives(10_000_000))) == 1


def test_closed_connections_are_forgotten() -> None:
    slow_clients = SlowClients(SETTINGS, Metrics(), BodyBudget(1.0))
    slow_clients.check([Connection(Phase.HEAD)], 0.0)
    slow_clients.check([], 1.0)
    assert not slow_clients._observed
