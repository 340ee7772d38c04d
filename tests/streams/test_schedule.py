"""The waits against the schedules that the platforms publish."""

from __future__ import annotations

from aggregator.streams.platforms.schedule import Growth, Schedule, Waits
from aggregator.streams.platforms.table import PLATFORMS, X


def waits(kind: str, count: int, schedule: Schedule = X) -> list[float]:
    found = Waits(schedule)
    return [found.after(kind) for _ in range(count)]


def test_the_network_is_tried_after_a_quarter_of_a_second_more_each_time_up_to_16() -> None:
    found = waits("network", 70)

    assert found[:4] == [0.25, 0.5, 0.75, 1.0] and found[63:] == [16.0] * 7


def test_http_errors_double_from_5_to_320_seconds() -> None:
    assert waits("http", 9) == [5, 10, 20, 40, 80, 160, 320, 320, 320]


def test_too_many_requests_double_from_a_minute() -> None:
    assert waits("rate_limit", 5) == [60, 120, 240, 480, 960]


def test_a_connection_that_lasted_is_made_again_at_once_and_only_once() -> None:
    found = Waits(X)
    found.after("network")
    found.after("network")
    found.lasted()

    assert [found.after("network") for _ in range(3)] == [0.0, 0.25, 0.5]


def test_an_error_of_the_server_is_never_answered_at_once() -> None:
    found = Waits(X)
    found.lasted()

    assert found.after("http") == 5.0 and found.after("network") == 0.25


def test_the_server_may_ask_for_more_and_not_for_less() -> None:
    found = Waits(X)

    assert found.after("http", 100.0) == 100.0 and found.after("http", 1.0) == 10.0


def test_a_million_failures_wait_as_long_as_a_hundred() -> None:
    assert Growth(5.0, 320.0, factor=2.0).wait_s(1_000_000) == 320.0


def test_every_platform_is_given_up_after_silence() -> None:
    assert all(platform.stall_s >= 20 for platform in PLATFORMS.values())
