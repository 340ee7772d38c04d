"""Gaps have a length and a cause."""

from __future__ import annotations

from aggregator.feeds.query.catalogue import Span
from aggregator.feeds.query.coverage import HOUR_S, Gap
from tests.feeds.archives import START, manifest, tick
from tests.feeds.covering import cover, full


def test_the_longest_gap_has_its_cause() -> None:
    ticks = [
        tick(n, "failed", error="HTTP 503") if 10 <= n < 14 else tick(n, "invalid", error="cut") if n == 30 else tick(n)
        for n in range(60)
    ]

    (hour,) = cover(manifest(ticks)).hours

    assert hour.gap == Gap(START * 1000 + 620_000, START * 1000 + 860_000, "failed: HTTP 503")


def test_a_gap_of_several_causes_names_the_most_frequent() -> None:
    ticks = [
        tick(n, "failed", error="timeout" if n % 3 else "HTTP 502") if 10 <= n < 19 else tick(n) for n in range(60)
    ]

    (hour,) = cover(manifest(ticks)).hours

    assert hour.gap and hour.gap.cause == "failed: timeout (6 of 9)"


def test_a_gap_over_the_hour_is_one_for_the_feed() -> None:
    first = manifest(full(range(50)))
    second = manifest([tick(n, start=START + HOUR_S) for n in range(20, 60)], start=START + HOUR_S)

    coverage = cover(first, second, span=Span(START, START + 2 * HOUR_S))

    assert [hour.gap.seconds for hour in coverage.hours if hour.gap] == [600, 1200]
    assert coverage.gap and coverage.gap.seconds == 1800
