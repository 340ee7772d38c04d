"""Coverage accounts for every planned tick of an hour."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from aggregator.feeds.bundle.manifest import Tick
from aggregator.feeds.query.catalogue import Span
from aggregator.feeds.query.coverage import HOUR_S, Hour, measure
from aggregator.feeds.query.evidence import Evidence
from tests.feeds.archives import START, manifest, tick
from tests.feeds.covering import LATER, cover, full, full_of


def balanced(hour: Hour) -> bool:
    return hour.expected == sum(hour.outcomes.values()) + hour.unrecorded


def test_an_hour_of_which_all_is_known_is_complete() -> None:
    (hour,) = cover(manifest(full())).hours

    assert (hour.expected, hour.unrecorded, hour.completeness, hour.gap) == (60, 0, 1.0, None)


def test_every_outcome_is_counted_and_three_of_them_cover() -> None:
    outcomes = ["ok", "same", "not_modified", "invalid", "failed", "late", "missed"]

    (hour,) = cover(manifest([tick(n, outcomes[n % 7]) for n in range(42)])).hours  # type: ignore[arg-type]

    assert set(hour.outcomes.values()) == {6}
    assert (hour.expected, hour.unrecorded) == (60, 18)
    assert hour.completeness == 18 / 60
    assert balanced(hour)


@pytest.mark.parametrize("kept", [range(10, 60), range(50), [*range(20), *range(30, 60)], [5], [0, 59]])
def test_ticks_without_a_record_are_expected_all_the_same(kept: Iterable[int]) -> None:
    (hour,) = cover(manifest(full(kept))).hours

    assert (hour.expected, hour.unrecorded) == (60, 60 - len([*kept]))
    assert balanced(hour)


def test_a_period_that_does_not_divide_the_hour_is_counted_exactly() -> None:
    ticks = [Tick(planned_ms=START * 1000 - 5000 + 14_000 * n, outcome="same") for n in range(600)]
    by_hour = [[t for t in ticks if at * 1000 <= t.planned_ms < (at + HOUR_S) * 1000] for at in (START, START + HOUR_S)]
    manifests = [manifest(some, start=START + HOUR_S * n, tick_ms=14_000) for n, some in enumerate(by_hour)]

    whole = cover(*manifests, span=Span(START, START + 2 * HOUR_S), tick_ms=14_000)
    sparse = [manifest(some[3::9], start=START + HOUR_S * n, tick_ms=14_000) for n, some in enumerate(by_hour)]
    holes = cover(*sparse, span=Span(START, START + 2 * HOUR_S), tick_ms=14_000)

    assert [hour.expected for hour in whole.hours] == [len(some) for some in by_hour] == [257, 257]
    assert [hour.expected for hour in holes.hours] == [257, 257]


def test_a_missing_hour_is_not_running() -> None:
    coverage = cover(
        manifest(full()), manifest(full_of(2), start=START + 2 * HOUR_S), span=Span(START, START + 3 * HOUR_S)
    )

    assert [hour.unrecorded for hour in coverage.hours] == [0, 60, 0]
    gap = coverage.hours[1].gap
    assert gap and (gap.seconds, gap.cause) == (3600, "not running")
    assert coverage.completeness == 2 / 3


def test_a_configured_feed_of_which_nothing_is_known_is_not_running() -> None:
    coverage = cover()

    (hour,) = coverage.hours
    assert (hour.expected, hour.unrecorded, coverage.completeness) == (60, 60, 0.0)


def test_a_feed_that_is_no_longer_configured_is_not_expected_after_its_last_tick() -> None:
    coverage = cover(manifest(full(range(30))), span=Span(START, START + 5 * HOUR_S), tick_ms=0)

    assert [(hour.start, hour.expected) for hour in coverage.hours] == [(START, 30)]


def test_a_feed_that_is_not_configured_is_expected_to_the_end_when_that_was_asked_for() -> None:
    span = Span(START, START + 5 * HOUR_S)

    coverage = measure("nyct", Evidence([manifest(full(range(30)))], {}, []), span, LATER, strict=True, to_end=True)

    assert [hour.expected for hour in coverage.hours] == [60] * 5
    assert coverage.completeness == 30 / 300


def test_before_its_first_record_a_feed_is_expected_only_when_the_start_was_asked_for() -> None:
    manifests = manifest(full(range(30, 60)))

    assert cover(manifests, strict=False).completeness == 1.0
    assert cover(manifests, strict=True).completeness == 0.5


def test_part_of_an_hour_can_be_asked_for() -> None:
    (hour,) = cover(manifest(full()), span=Span(START + 600, START + 1200)).hours

    assert (hour.start, hour.expected) == (START, 10)


def test_ticks_still_to_come_and_under_way_are_not_expected() -> None:
    now = START + 20 + 29 * 60 + 50

    (hour,) = cover(manifest(full(range(28))), now=now).hours

    assert (hour.expected, hour.unrecorded) == (28, 0)


def test_a_collector_that_has_stopped_shows_after_a_while() -> None:
    (hour,) = cover(manifest(full(range(20))), now=START + 40 * 60).hours

    assert (hour.expected, hour.unrecorded) == (40, 20)
