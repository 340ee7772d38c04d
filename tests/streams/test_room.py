"""A disk with little room left is told, with the time that is left, and no longer once there is room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.runtime.context import Context
from aggregator.runtime.reports import Report
from aggregator.streams.room import Room, free_bytes

MB = 1024**2


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """What a stage of an instance in this folder has."""
    return Context(section="worker_record", number=0, node="here", root=tmp_path)


def told(context: Context) -> Report | None:
    return context.reports.get(("disk_low", "data/streams"))


def over(context: Context, *free_mb: int, step_s: float = 60.0, min_free: int = 1024 * MB) -> None:
    """Look at a disk that has so much room at each look."""
    left: Iterator[int] = iter(free_mb)
    room = Room(context.root / "data/streams", min_free, context, lambda folder: next(left) * MB)
    for number in range(len(free_mb)):
        room.look(1_790_000_000 + number * step_s)


def test_nothing_is_told_while_there_is_room(context: Context) -> None:
    over(context, 5000, 2000, 1024)

    assert told(context) is None and not context.notes.get("disk")


def test_a_disk_below_min_free_is_told_until_there_is_room_again(context: Context) -> None:
    over(context, 2000, 1000)
    report = told(context)
    assert report is not None and report.level == "warning"
    assert report.text == "1,000 MB are left on its disk, and min_free is 1,024 MB"
    assert context.notes["disk"] == "1,000 MB left"

    over(context, 1000, 3000)
    assert told(context) is None and context.notes["disk"] == ""


def test_it_says_when_the_disk_will_be_full(context: Context) -> None:
    over(context, *range(1600, 900, -100))  # 100 MB a minute

    report = told(context)

    assert report is not None
    assert report.text.endswith("; at the rate of the last 6 min it is full in 10 min")


def test_a_few_minutes_and_a_disk_that_gets_emptier_promise_nothing(context: Context) -> None:
    over(context, 1000, 900, 800)
    report = told(context)
    assert report is not None and "full" not in report.text

    over(context, *range(100, 900, 100))
    report = told(context)
    assert report is not None and "full" not in report.text


def test_the_disk_is_looked_at_every_ten_seconds_and_never_without_min_free(context: Context) -> None:
    looks: list[Path] = []

    def free(folder: Path) -> int:
        looks.append(folder)
        return 0

    room = Room(context.root, 1, context, free)
    for now in (0.0, 9.9, 10.0, 19.0, 20.0):
        room.look(now)
    assert len(looks) == 3

    Room(context.root, 0, context, free).look(30.0)
    assert len(looks) == 3


def test_a_folder_that_is_not_there_yet_is_on_the_disk_of_the_one_above(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "there") > 0
