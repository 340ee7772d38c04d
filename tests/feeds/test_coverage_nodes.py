"""Of several nodes, and of periods that change, the best that is known counts."""

from __future__ import annotations

from aggregator.feeds.bundle.manifest import Outcome, Tick
from aggregator.feeds.query.catalogue import Span
from aggregator.feeds.query.coverage import HOUR_S
from tests.feeds.archives import START, TICK_MS, manifest, tick
from tests.feeds.covering import cover, full


def test_the_best_outcome_of_any_node_counts_for_each_tick() -> None:
    one = manifest([tick(n, "ok" if n < 30 else "failed") for n in range(60)], node="one")
    two = manifest([tick(n, "same") for n in range(25, 60)], node="two")

    (hour,) = cover(one, two).hours

    assert (hour.outcomes["ok"], hour.outcomes["same"], hour.outcomes["failed"]) == (30, 30, 0)
    assert hour.completeness == 1.0


def test_a_first_tick_beside_the_plan_does_not_keep_nodes_apart() -> None:
    early = Tick(planned_ms=START * 1000 + 3000, outcome="same")
    one = manifest([early, *full(range(40))], node="one")
    two = manifest(full(range(40, 60)), node="two")

    (hour,) = cover(one, two).hours

    assert (hour.expected, hour.completeness) == (61, 1.0)


def test_of_nodes_that_plan_differently_the_more_complete_one_counts() -> None:
    slow = manifest([tick(2 * n) for n in range(25)], node="slow", tick_ms=2 * TICK_MS)
    quick = manifest(full(range(50)), node="quick")

    (hour,) = cover(slow, quick).hours

    assert (hour.expected, hour.outcomes["same"]) == (60, 50)


def half_minutes(hour: int, outcome: Outcome = "same") -> list[Tick]:
    """Return the ticks of an hour of a node that plans one every 30 s, 7 s after each half of a minute began."""
    start_ms = (START + hour * HOUR_S) * 1000 + 7000
    return [Tick(planned_ms=start_ms + n * 30_000, outcome=outcome) for n in range(120)]


def test_of_nodes_that_plan_differently_the_more_complete_one_counts_in_each_hour() -> None:
    """One machine takes over from another, with a new period."""
    before = manifest(full(), node="a")
    after = manifest(half_minutes(1), node="b", start=START + HOUR_S, tick_ms=30_000)

    coverage = cover(before, after, span=Span(START, START + 2 * HOUR_S), tick_ms=30_000)

    assert [(hour.expected, hour.completeness) for hour in coverage.hours] == [(60, 1.0), (120, 1.0)]
    assert coverage.gap is None


def test_of_nodes_that_plan_differently_one_that_recorded_failures_counts_before_one_that_did_not_run() -> None:
    before = manifest(full(), node="a")
    after = manifest(half_minutes(1, "failed"), node="b", start=START + HOUR_S, tick_ms=30_000)

    coverage = cover(before, after, span=Span(START, START + 2 * HOUR_S), tick_ms=30_000)

    assert [hour.outcomes["failed"] for hour in coverage.hours] == [0, 120]


def test_a_changed_period_is_counted_with_both() -> None:
    before = manifest(full(range(60)))
    after = manifest(
        [Tick(planned_ms=(START + HOUR_S) * 1000 + 20_000 + n * 30_000, outcome="same") for n in range(120)],
        start=START + HOUR_S,
        tick_ms=30_000,
    )

    coverage = cover(before, after, span=Span(START, START + 2 * HOUR_S), tick_ms=30_000)

    assert [hour.expected for hour in coverage.hours] == [60, 120]
    assert coverage.gap is None
