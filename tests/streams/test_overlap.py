"""Keys of events that came already: they outlive the process, and never suppress what got lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from aggregator.streams import overlap as module
from aggregator.streams.journal import Journal, Place, Record
from aggregator.streams.overlap import GENERATION_US, Overlap

START = Place()


class Both:
    """A journal and its keys, as a process has them."""

    def __init__(self, folder: Path, committed: Place = START) -> None:
        self.journal = Journal(folder, 1 << 30)
        self.journal.open(committed)
        self.overlap = Overlap(folder)
        self.overlap.open(self.journal.holds)

    def add(self, *numbers: int, moment_us: int = 1) -> None:
        """Write events."""
        assert self.journal.append([record(number) for number in numbers], self.overlap.keep)
        self.overlap.confirm(moment_us)

    def commit(self, most: int = 1000) -> Place:
        """Commit the oldest events."""
        _, place = self.journal.take(most)
        self.journal.commit(place)
        return place

    def known(self, numbers: Iterable[int]) -> list[int]:
        """Return those of the events that would be passed over."""
        return [number for number in numbers if key(number) in self.overlap]


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def record(number: int) -> Record:
    return Record(b"event %d" % number, 1, str(number), key(number))


def test_events_are_known_whether_they_wait_or_are_committed(tmp_path: Path) -> None:
    before = Both(tmp_path)
    before.add(1, 2, 3)
    before.add(4)
    place = before.commit(2)

    # killed: nothing is closed
    after = Both(tmp_path, place)

    assert before.known(range(6)) == after.known(range(6)) == [1, 2, 3, 4]
    assert [found.body for found in after.journal.take(10)[0]] == [b"event 3", b"event 4"]


def test_events_whose_segment_is_gone_are_known_because_they_were_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aggregator.streams.journal.SEGMENT_BYTES", 100)
    before = Both(tmp_path)
    for number in range(20):
        before.add(number)
    place = before.commit()

    assert Both(tmp_path, place).known(range(20)) == list(range(20))


def test_a_key_without_its_event_suppresses_nothing_also_not_when_others_took_its_place(tmp_path: Path) -> None:
    before = Both(tmp_path)
    before.add(1)
    # killed between the key and the event
    before.overlap.keep([(record(2), Place(1, 10_000))])

    after = Both(tmp_path)
    assert after.known([1, 2]) == [1]
    for number in range(10, 1000):
        after.add(number)
    assert Both(tmp_path).known([1, 2, 10]) == [1, 10]


def test_an_event_that_a_crash_tore_comes_again(tmp_path: Path) -> None:
    before = Both(tmp_path)
    before.add(1, 2)
    [segment] = tmp_path.glob("*.journal")
    segment.write_bytes(segment.read_bytes()[:-1])

    assert Both(tmp_path).known([1, 2]) == [1]


def test_an_older_redis_forgets_what_was_committed_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregator.streams.journal.SEGMENT_BYTES", 100)
    before = Both(tmp_path)
    before.add(*range(3))
    earlier = before.commit()
    for number in range(3, 20):
        before.add(number)
    before.commit()

    for place, committed in ((earlier, [0, 1, 2]), (Place(), [])):
        after = Both(tmp_path, place)
        waiting = [int(found.mark) for found in after.journal.take(100)[0]]
        assert 0 < len(waiting) < 10 and after.known(range(20)) == committed + waiting


def test_events_without_room_leave_no_key(tmp_path: Path) -> None:
    both = Both(tmp_path)
    both.journal = Journal(tmp_path / "small", 50)
    both.journal.open(Place())

    assert not both.journal.append([record(n) for n in range(9)], both.overlap.keep)
    both.overlap.take_back()
    both.overlap.keep([(record(1), Place(1, 1))])
    both.overlap.take_back()

    assert both.known(range(9)) == [] and (tmp_path / "keys.new").read_bytes() == b""


def test_keys_are_kept_for_two_generations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = Both(tmp_path)
    for number in range(5):
        both.add(number, moment_us=1 + number * GENERATION_US * 3 // 4)

    assert both.known(range(5)) == [3, 4]
    assert Both(tmp_path).known(range(5)) == both.known(range(5))

    monkeypatch.setattr(module, "MOST_KEYS", 10)
    for number in range(100, 200):
        both.add(number, moment_us=GENERATION_US * 3)
    assert 10 <= len(both.known(range(200))) <= 24


def test_a_disk_without_room_for_a_new_file_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = Both(tmp_path)
    both.add(1)
    both.journal.append([record(2)], both.overlap.keep)
    with monkeypatch.context() as patched:
        patched.setattr("os.open", full_disk)
        with pytest.raises(OSError, match="No space"):
            both.overlap.confirm(GENERATION_US * 2)
        with pytest.raises(OSError, match="No space"):
            both.journal.append([record(3)], both.overlap.keep)
        both.overlap.take_back()
    both.add(3)

    assert both.known(range(5)) == Both(tmp_path).known(range(5)) == [1, 2, 3]


def full_disk(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("damage", [b"x", b"\0" * 44, b"x" * 100])
def test_a_damaged_end_of_the_file_costs_only_itself(tmp_path: Path, damage: bytes) -> None:
    before = Both(tmp_path)
    before.add(1)
    with (tmp_path / "keys.new").open("ab") as file:
        file.write(damage)

    assert Both(tmp_path).known(range(3)) == [1]
