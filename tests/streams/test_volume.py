"""A fall against the usual volume is found, by the clock of the test; nights, bursts, chance and holes are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aggregator.streams.volume import DAY_H, HOUR_S, WEEK_H, WEEKS, Judged, Volume

BEGIN_H = 500_000
"""The hour, counted from 1970, in which the streams of these tests begin."""


class Clock:
    """A stream under a clock: hours go by with so many events in each."""

    def __init__(self, path: Path, asked: str = "cats", hour: int = BEGIN_H) -> None:
        self.hour = hour
        self.volume = Volume(path, asked)
        self.volume.open(self.now)

    @property
    def now(self) -> float:
        """The beginning of the hour."""
        return float(self.hour * HOUR_S)

    def let_pass(self, events: int, *, seen: float = 1.0) -> Judged | None:
        """Let an hour go by, of which the last part is seen; return how it is judged."""
        self.volume.look(self.now + (1 - seen) * HOUR_S, is_seen=seen == 1.0)
        self.volume.add([int(self.now * 1000) + HOUR_S * 1000 - 1] * events)
        self.hour += 1
        self.volume.look(self.now, is_seen=seen > 0)
        return self.volume.judge(self.now)

    def days(self, number: float, events_of: Callable[[int], int]) -> None:
        """Let days go by, and expect no finding in them; `events_of` gets the hour of the week."""
        for _ in range(round(number * DAY_H)):
            judged = self.let_pass(events_of(self.hour % WEEK_H))
            assert judged is None or not judged.fell, judged


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of the counts."""
    return tmp_path / ".s.volume"


def test_a_stream_is_learnt_for_a_day_before_anything_is_said(path: Path) -> None:
    clock = Clock(path)
    for _ in range(20):
        assert clock.let_pass(1000) is None
    for _ in range(4):
        assert clock.let_pass(0) is None

    judged = clock.let_pass(0)

    assert judged is not None and judged.fell
    assert (judged.events, judged.usual, judged.compared) == (0, 1000, "this hour of the day, 1 day")


def test_a_fall_is_told_and_its_end_too(path: Path) -> None:
    clock = Clock(path)
    clock.days(3, lambda hour: 1000)

    fallen, still, over = clock.let_pass(100), clock.let_pass(300), clock.let_pass(900)

    assert fallen is not None and fallen.fell and fallen.hour == BEGIN_H + 3 * DAY_H and fallen.usual == 1000
    assert still is not None and still.fell
    assert over is not None and not over.fell


def test_an_hour_is_judged_once(path: Path) -> None:
    clock = Clock(path)
    clock.days(2, lambda hour: 1000)

    assert clock.let_pass(0) is not None
    assert clock.volume.judge(clock.now) is None
    assert clock.volume.judge(clock.now + HOUR_S - 1) is None


def test_nights_and_weekends_are_compared_with_nights_and_weekends(path: Path) -> None:
    def of_week(hour: int) -> int:
        return (1000 if hour % DAY_H >= 8 else 60) // (10 if hour >= 5 * DAY_H else 1)

    clock = Clock(path, hour=BEGIN_H // WEEK_H * WEEK_H)
    for _ in range(WEEK_H):  # of a week that is seen for the first time, nobody can know that its end is quiet
        clock.let_pass(of_week(clock.hour % WEEK_H))
    clock.days(21, of_week)
    clock.days(5.5, of_week)

    at_noon = clock.let_pass(10)

    assert at_noon is not None and at_noon.fell
    assert (at_noon.usual, at_noon.compared) == (100, "this hour of the week, 4 weeks")


def test_one_burst_does_not_make_what_follows_a_fall(path: Path) -> None:
    clock = Clock(path)
    clock.days(1, lambda hour: 50_000 if hour == BEGIN_H % WEEK_H else 1000)
    clock.days(2, lambda hour: 1000)

    clock = Clock(path.with_name("of-weeks"))
    clock.days(7, lambda hour: 50_000 if hour == BEGIN_H % WEEK_H + 30 else 1000)
    clock.days(21, lambda hour: 1000)


def test_what_chance_explains_is_no_fall(path: Path) -> None:
    clock = Clock(path)
    clock.days(3, lambda hour: 25)
    clock.days(0.5, lambda hour: 0)


def test_a_stream_that_always_goes_up_and_down_is_given_its_ups_and_downs(path: Path) -> None:
    clock, steady = Clock(path), Clock(path.with_name("steady"))
    for week in range(6):
        clock.days(7, lambda hour, week=week: (600, 1000, 1400)[week % 3])  # type: ignore[misc]
        steady.days(7, lambda hour: 1000)

    low, none, of_steady = clock.let_pass(400), clock.let_pass(50), steady.let_pass(400)

    assert low is not None and not low.fell and low.usual == 1000
    assert none is not None and none.fell
    assert of_steady is not None and of_steady.fell


def test_hours_without_a_connection_are_neither_a_fall_nor_usual(path: Path) -> None:
    clock = Clock(path)
    clock.days(3, lambda hour: 1000)

    assert [clock.let_pass(0, seen=0.0) for _ in range(DAY_H)] == [None] * DAY_H
    clock.days(1, lambda hour: 1000)
    fallen = clock.let_pass(100)
    assert fallen is not None and fallen.fell and fallen.compared == "this hour of the day, 4 days"


def test_of_an_hour_that_was_seen_in_part_the_rate_counts(path: Path) -> None:
    clock = Clock(path)
    clock.days(2, lambda hour: 1000)

    whole, fallen, little = (clock.let_pass(events, seen=part) for events, part in ((600, 0.6), (60, 0.6), (0, 0.3)))

    assert whole is not None and not whole.fell and whole.events == 1000
    assert fallen is not None and fallen.fell and fallen.events == 100
    assert little is None


def test_what_was_learnt_is_there_after_a_restart(path: Path) -> None:
    clock = Clock(path)
    clock.days(2, lambda hour: 1000)
    clock.volume.save(clock.now)

    again = Clock(path, hour=clock.hour)
    fallen = again.let_pass(100)
    assert fallen is not None and fallen.fell

    late = Clock(path, hour=clock.hour + 5)  # nothing was saved since then, so nobody knows what came
    assert late.volume.judge(late.now) is None
    late.days(1, lambda hour: 1000)


def test_only_weeks_that_are_compared_are_kept(path: Path) -> None:
    clock = Clock(path)
    clock.days(1, lambda hour: 1000)
    clock.volume.save(clock.now)
    small = path.stat().st_size
    clock.hour += 20 * WEEK_H
    clock.volume.look(clock.now, is_seen=False)
    clock.volume.save(clock.now)

    assert path.stat().st_size < small + (WEEKS + 1) * WEEK_H * 20
    assert str(BEGIN_H).encode() not in path.read_bytes()


@pytest.mark.parametrize("damage", [b"", b"{", b'{"asked":"cats","until_s":1,"hours":{"1":"x"}}', b"\xff" * 50])
def test_a_damaged_file_is_learnt_anew(path: Path, damage: bytes) -> None:
    path.write_bytes(damage)

    clock = Clock(path)

    assert [clock.let_pass(0) for _ in range(DAY_H)] == [None] * DAY_H


def test_another_filter_is_learnt_anew(path: Path) -> None:
    clock = Clock(path)
    clock.days(2, lambda hour: 1000)
    clock.volume.save(clock.now)

    dogs = Clock(path, asked="dogs", hour=clock.hour)

    assert [dogs.let_pass(0) for _ in range(DAY_H)] == [None] * DAY_H
