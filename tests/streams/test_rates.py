"""Token buckets by the time of events, and by the clock where that says more."""

from __future__ import annotations

from collections.abc import Iterable

from aggregator.streams.rules.rates import Moment, Rates
from tests.streams.tweets import rule

HAPPY, SAD = rule("1", "Happy"), rule("2", "sad")
START = 1_700_000_000.0


class Remembered:
    """What a section remembers, as its worker keeps it; nothing ends."""

    def __init__(self, rate: float, capacity: int = 10, cost: int = 1) -> None:
        self.rates = Rates(rate, capacity, cost)
        self.texts: dict[str, str | None] = {}
        self.ttl_s: float | None = None

    def passes(self, received_s: float, clock_s: float | None = None, *, rules: Iterable[object] = (HAPPY,)) -> bool:
        """Say whether an event passes that was received so long after the start; the clock is a day ahead."""
        moment = Moment(START + received_s, START + (86400.0 if clock_s is None else clock_s))
        passes, remembered = self.rates.take(rules, moment, self.texts.get)  # type: ignore[arg-type]
        for each in remembered:
            self.texts[each.name], self.ttl_s = each.value, each.ttl_s
        return passes


def test_a_bucket_gives_its_capacity_at_once_and_its_rate_from_then_on() -> None:
    bucket = Remembered(10)

    assert sum(bucket.passes(0) for _ in range(100)) == 10
    assert sum(bucket.passes(0.01 * n) for n in range(1, 6001)) in (600, 601)


def test_a_hundred_events_in_a_second_at_ten_a_second_leave_twenty() -> None:
    bucket = Remembered(10)

    assert sum(bucket.passes(0.01 * n) for n in range(100)) == 20


def test_time_before_the_first_event_that_is_handled_does_not_count() -> None:
    bucket = Remembered(10)
    batches_late = [*range(10, 15), *range(10), *range(15, 100)]

    assert sum(bucket.passes(0.01 * n) for n in batches_late) == 19


def test_a_cost_above_one_gives_rates_below_one_a_second() -> None:
    bucket = Remembered(1, capacity=1, cost=60)

    assert [second for second in range(200) if bucket.passes(second)] == [0, 60, 120, 180]


def test_an_event_passes_by_any_of_its_values_and_each_is_charged() -> None:
    bucket = Remembered(1, capacity=2)

    assert [bucket.passes(0) for _ in range(3)] == [True, True, False]
    assert [bucket.passes(0, rules=(HAPPY, SAD)) for _ in range(3)] == [True, True, False]
    assert bucket.passes(0, rules=())


def test_rules_of_one_value_share_a_bucket() -> None:
    bucket = Remembered(1, capacity=2)

    assert [bucket.passes(0, rules=(HAPPY, rule("3", "HAPPY", "hashtag"))) for _ in range(3)] == [True, True, False]


def test_events_whose_time_stands_still_get_the_clocks() -> None:
    bucket = Remembered(10)

    assert sum(bucket.passes(0, clock_s=0.01 * n) for n in range(100)) == 20


def test_a_time_in_the_future_stops_nothing() -> None:
    bucket = Remembered(10)

    assert sum(bucket.passes(10**9, clock_s=0.01 * n) for n in range(50)) == 15
    assert sum(bucket.passes(0.01 * n, clock_s=0.01 * n) for n in range(50, 100)) == 5


def test_time_does_not_go_back() -> None:
    bucket = Remembered(1, capacity=2)

    assert [bucket.passes(second) for second in (100, 100, 100, 50, 0, 101, 100)] == [
        *(True, True, False, False, False, True, False)
    ]


def test_a_bucket_is_forgotten_once_it_is_full() -> None:
    bucket = Remembered(2, capacity=10, cost=4)
    bucket.passes(0)

    assert bucket.ttl_s == 7
