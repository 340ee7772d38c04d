from __future__ import annotations

import pytest

from aggregator.errors import Unavailable
from aggregator.http.breaker import Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shown() -> list[str]:
    return []


@pytest.fixture
def breaker(clock: Clock, shown: list[str]) -> Breaker:
    return Breaker(30.0, lambda text, trouble: shown.append(text), clock, lambda: 1_000_000_000.0 + clock.now)


def open_it(breaker: Breaker) -> None:
    for _ in range(3):
        breaker.admit()
        breaker.failed("down")


def test_failures_that_a_success_parts_do_not_open_it(breaker: Breaker) -> None:
    for _ in range(5):
        assert breaker.failed("down") is None
        assert breaker.failed("down") is None
        breaker.succeeded()
    breaker.admit()


def test_an_open_one_says_why_and_for_how_long(breaker: Breaker, clock: Clock) -> None:
    open_it(breaker)
    clock.now += 10
    with pytest.raises(Unavailable, match="down") as caught:
        breaker.admit()
    assert caught.value.pause_s == 20.0


def test_after_the_pause_one_request_tries_and_the_others_wait(
    breaker: Breaker, clock: Clock, shown: list[str]
) -> None:
    open_it(breaker)
    clock.now += 30
    breaker.admit()
    assert shown[-1] == "half-open, away since 2001-09-09 01:48:20 UTC: down"
    with pytest.raises(Unavailable) as caught:
        breaker.admit()
    assert caught.value.pause_s == 1.0


def test_a_failed_try_opens_it_again_for_a_whole_pause(breaker: Breaker, clock: Clock) -> None:
    open_it(breaker)
    clock.now += 30
    breaker.admit()
    assert breaker.failed("still down") == 30.0
    with pytest.raises(Unavailable, match="still down"):
        breaker.admit()


def test_a_successful_try_closes_it(breaker: Breaker, clock: Clock, shown: list[str]) -> None:
    open_it(breaker)
    clock.now += 30
    breaker.admit()
    breaker.succeeded()
    breaker.admit()
    breaker.admit()
    assert shown[-1] == "closed"


def test_a_late_failure_of_a_request_in_flight_does_not_prolong_the_pause(breaker: Breaker, clock: Clock) -> None:
    open_it(breaker)
    clock.now += 20
    assert breaker.failed("late") == 10.0
    clock.now += 10
    breaker.admit()


def test_the_pause_is_as_long_as_the_neighbour_asks_for(breaker: Breaker) -> None:
    breaker.failed("busy")
    breaker.failed("busy")
    assert breaker.failed("busy", 120.0) == 120.0


def test_an_outage_began_with_its_first_failure_however_often_it_was_tried_since(
    breaker: Breaker, clock: Clock, shown: list[str]
) -> None:
    breaker.failed("down")
    clock.now += 5
    breaker.failed("down")
    breaker.failed("down")
    for _ in range(3):
        clock.now += 30
        breaker.admit()
        breaker.failed("still down")

    assert shown[-1] == "open since 2001-09-09 01:48:20 UTC, next try 01:50:25: still down"


def test_after_an_answer_the_next_outage_begins_anew(breaker: Breaker, clock: Clock, shown: list[str]) -> None:
    breaker.failed("down")
    breaker.succeeded()
    clock.now += 60

    open_it(breaker)

    assert shown[-1].startswith("open since 2001-09-09 01:49:20 UTC")
