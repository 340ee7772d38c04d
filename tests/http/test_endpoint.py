from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from aggregator.errors import Unavailable
from aggregator.http.client import Client
from aggregator.http.endpoint import LONGEST_REST_S, Endpoint, Unanswered
from aggregator.http.ratelimit import Pace
from aggregator.http.retryafter import retry_after_s
from tests.logs.trackers import Connection, Tracker, in_turn, status, tracker


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept_s: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds


class Ticking(Clock):
    """A clock that goes on by a second at each look: who waits for it does not depend on how fast others are."""

    def __call__(self) -> float:
        self.now_s += 1
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reached(clock: Clock) -> Iterator[Callable[[Tracker], Endpoint]]:
    endpoints: list[Endpoint] = []

    def reach(server: Tracker) -> Endpoint:
        endpoints.append(Endpoint(server.url, 60.0, Client("tests/1", clock=clock)))
        return endpoints[-1]

    yield reach
    for endpoint in endpoints:
        endpoint.close()


Reached = Callable[[Tracker], Endpoint]


def test_a_second_try_on_a_new_connection_has_only_the_time_that_is_left(reached: Reached, clock: Clock) -> None:
    def take_too_long(connection: Connection) -> None:
        clock.now_s += 60
        connection.close_after = True

    with tracker(in_turn(status(200), take_too_long, status(200))) as server:
        endpoint = reached(server)
        endpoint.get("a=1")
        with pytest.raises(Unanswered, match="no answer in time"):
            endpoint.get("a=2")
        assert len(server.targets) == 2


def test_a_new_connection_that_breaks_is_a_failure_at_once(reached: Reached) -> None:
    def hang_up(connection: Connection) -> None:
        connection.close_after = True

    with tracker(in_turn(hang_up, status(200))) as server:
        with pytest.raises(Unanswered):
            reached(server).get("a=1")
        assert len(server.targets) == 1


@pytest.mark.parametrize("clock", [Ticking()])
def test_a_body_nobody_needs_is_waited_for_five_seconds_at_most(reached: Reached, clock: Clock) -> None:
    def dribble(connection: Connection) -> None:
        connection.wfile.write(b"HTTP/1.1 200 X\r\nContent-Length: 60000\r\n\r\n")
        connection.dribble(b"x")

    began = clock.now_s
    with tracker(dribble) as server:
        assert reached(server).get("a=1").status == 200
        assert clock.now_s < began + 30


@pytest.mark.parametrize("interim", ["100 Continue", "102 Processing", "103 Early Hints"])
def test_the_status_is_that_of_the_last_answer(reached: Reached, interim: str) -> None:
    def answer(connection: Connection) -> None:
        connection.wfile.write(f"HTTP/1.1 {interim}\r\nRetry-After: 7\r\n\r\n".encode() * 2)
        connection.answer(503, b"busy")

    with tracker(in_turn(answer, status(200))) as server:
        endpoint = reached(server)
        first = endpoint.get("a=1")
        assert (first.status, first.retry_after_s, first.excerpt) == (503, None, "busy")
        assert endpoint.get("a=2").status == 200
        assert server.connections == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("7200", 3600.0),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 3600.0),
        ("", None),
        ("soon", None),
    ],
)
def test_retry_after_is_bounded_by_an_hour(text: str, seconds: float | None) -> None:
    assert retry_after_s(text, "", 100.0, LONGEST_REST_S) == seconds


def test_a_pause_saves_up_no_turns(clock: Clock) -> None:
    pace = Pace(10.0, lambda: False, clock=clock, sleep=clock.sleep)
    pace.wait()
    clock.now_s += 100
    for _ in range(3):
        pace.wait()
    assert clock.slept_s == [pytest.approx(0.1)] * 2


def test_a_turn_that_is_far_away_is_given_up_when_the_process_stops(clock: Clock) -> None:
    pace = Pace(0.01, lambda: len(clock.slept_s) == 3, clock=clock, sleep=clock.sleep)
    pace.wait()
    with pytest.raises(Unavailable):
        pace.wait()
    assert clock.slept_s == [0.2] * 3


@pytest.mark.parametrize("noise", ["X Powered By: y", "no colon", ": no name", "X-Bare: a\rb", "X-Folded: a\r\n b"])
def test_a_malformed_header_hides_none_of_those_behind_it(reached: Reached, noise: str) -> None:
    def answer(connection: Connection) -> None:
        head = f"HTTP/1.1 503 X\r\n{noise}\r\nRetry-After: 30\r\nLocation: /there\r\nContent-Length: 4\r\n\r\n"
        connection.wfile.write(head.encode() + b"Away")
        connection.stall()

    with tracker(answer) as server:
        answer_ = reached(server).get("a=1")

    assert (answer_.status, answer_.retry_after_s, answer_.location, answer_.excerpt) == (503, 30.0, "/there", "Away")


@pytest.mark.parametrize("line", ["Content Length: 4", "X-A: b\rTransfer-Encoding: chunked", "Content-Length: 9"])
def test_an_answer_counts_though_nobody_can_say_where_it_ends(reached: Reached, line: str) -> None:
    def answer(connection: Connection) -> None:
        connection.wfile.write(f"HTTP/1.1 200 X\r\nContent-Length: 2\r\n{line}\r\n\r\n".encode() + b"OK and more")
        connection.close_after = True

    with tracker(answer) as server:
        endpoint = reached(server)
        assert [endpoint.get(query).status for query in ("a=1", "a=2")] == [200, 200]
        assert server.connections == 2
