"""Planned times, and how long a failing server is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.feeds.fetching.timing import FeedTiming, backoff_ms

TIMES = st.integers(0, 4_000_000_000_000)
PERIODS = st.integers(100, 7 * 86_400_000)


@given(at=TIMES, period=PERIODS)
def test_a_moment_lies_between_two_planned_times_one_period_apart(at: int, period: int) -> None:
    timing = FeedTiming("ace", period)
    last, following = timing.last_until(at), timing.next_after(at)

    assert last <= at < following == last + period
    assert timing.next_after(last) == following
    assert timing.last_until(last) == last


@given(at=TIMES, period=PERIODS)
def test_the_first_tick_comes_within_ten_seconds_and_the_second_within_a_period_of_it(at: int, period: int) -> None:
    timing = FeedTiming("ace", period)
    first = timing.first(at)

    assert at <= first < at + 10_000
    assert first < timing.next_after(first) <= first + period


def test_feeds_are_spread_over_their_period() -> None:
    phases = [FeedTiming(f"feed{number}", 14_000).grid.phase_ms // 1000 for number in range(1400)]

    assert all(60 <= phases.count(second) <= 140 for second in range(14))


@pytest.mark.parametrize(
    ("failures", "wait_s"), [(0, 0), (1, 0), (2, 0), (3, 28), (4, 56), (5, 112), (6, 224), (7, 300), (1000, 300)]
)
def test_the_wait_doubles_after_two_failures_up_to_the_longest(failures: int, wait_s: int) -> None:
    assert backoff_ms(failures, 14_000, 300_000) == wait_s * 1000


def test_a_feed_whose_period_is_longer_than_the_longest_wait_just_keeps_its_pace() -> None:
    assert backoff_ms(50, 600_000, 300_000) == 0
