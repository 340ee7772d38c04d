from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.streams import journal
from aggregator.streams.journal import Journal, Place, Record

BOUND = 1024**2


def opened(folder: Path, committed: Place | None = None, bound: int = BOUND) -> Journal:
    found = Journal(folder, bound)
    found.open(committed or Place())
    return found


def records(first: int, count: int, size: int = 10) -> list[Record]:
    return [Record(f"{n:0{size}}".encode(), 1_000 + n, f"id{n}") for n in range(first, first + count)]


def bodies(found: list[Record]) -> list[int]:
    return [int(record.body) for record in found]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))


def test_records_come_out_as_they_went_in(tmp_path: Path) -> None:
    given = [Record(b"\x00\xff\n", 5, ""), Record(b"", 6, "é"), Record(b"x" * 3_000_000, 7, "m")]
    found = opened(tmp_path, bound=10 * BOUND)

    assert all(found.append([record]) for record in given)

    assert found.take(10)[0] == given
    assert found.is_taken


def test_what_was_taken_and_not_committed_is_there_for_the_next_process(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.append(records(0, 10))
    _, place = first.take(4)
    first.commit(place)
    first.take(6)

    again = opened(tmp_path, place)
    again.append(records(10, 2))

    assert bodies(again.take(100)[0]) == [4, 5, 6, 7, 8, 9, 10, 11]


def test_the_newest_record_and_mark_are_known_without_taking_anything(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.append([*records(0, 3), Record(b"gap", 5_000)])

    again = opened(tmp_path)

    assert again.last == Record(b"", 5_000, "id2")


def test_everything_committed_means_nothing_is_known(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.append(records(0, 3))
    _, place = first.take(3)

    assert opened(tmp_path, place).last is None


def test_committed_segments_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 500)
    found = opened(tmp_path)
    for n in range(10):
        found.append(records(n * 10, 10))
    before = len(files(tmp_path))
    taken, place = found.take(95)
    found.commit(place)

    assert before >= 10 and len(files(tmp_path)) == 1
    assert bodies(taken) == list(range(95)) and bodies(found.take(100)[0]) == list(range(95, 100))


def test_a_full_journal_takes_nothing_until_there_is_room(tmp_path: Path) -> None:
    found = opened(tmp_path, bound=1_000)
    room = 0
    while found.append(records(room, 1)):
        room += 1
    _, place = found.take(room)

    assert not found.append(records(room, 1)) and found.waiting_bytes <= 1_000
    found.commit(place)
    assert found.append(records(room, 1)) and bodies(found.take(5)[0]) == [room]


@pytest.mark.parametrize("cut", [1, 5, 17, 20, 27])
def test_a_record_that_a_crash_tore_is_cut_off_and_told(tmp_path: Path, cut: int) -> None:
    first = opened(tmp_path)
    first.append(records(0, 3))
    [file] = [path for path in files(tmp_path) if path.stat().st_size]
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) - cut])

    again = opened(tmp_path)
    again.append(records(3, 1))

    assert bodies(again.take(9)[0]) == [0, 1, 3] and again.torn_bytes


def test_a_damaged_record_is_never_handed_out(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.append(records(0, 2))
    [file] = [path for path in files(tmp_path) if path.stat().st_size]
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)

    assert bodies(opened(tmp_path).take(9)[0]) == [0]


def damage(file: Path, at: int, size: int = 1) -> None:
    """Flip bits of a file."""
    data = bytearray(file.read_bytes())
    data[at : at + size] = bytes(byte ^ 0x55 for byte in data[at : at + size])
    file.write_bytes(data)


def shown(found: list[Record]) -> list[int | tuple[int | None, int]]:
    """Return the numbers of records, and of holes since when and until when records are missing."""
    return [int(each.body) if each.since_ms is None else (each.since_ms, each.at_ms) for each in found]


SIZE = 18 + len("id0") + 10
"""The size of a record on the disk, as long as its number has one digit."""


@pytest.mark.parametrize(("at", "size"), [(0, 1), (4, 1), (8, 8), (16, 1), (18, 1), (30, 1), (0, SIZE)])
def test_what_is_damaged_before_other_records_is_a_hole_and_they_keep_their_places(
    tmp_path: Path, at: int, size: int
) -> None:
    first = opened(tmp_path)
    first.append(records(0, 9))
    [file] = [path for path in files(tmp_path) if path.stat().st_size]
    before = file.stat().st_size
    damage(file, 3 * SIZE + at, size)
    damage(file, 6 * SIZE + at, SIZE + size)

    again = opened(tmp_path)
    found, place = again.take(20)

    assert shown(found) == [0, 1, 2, (1002, 1004), 4, 5, (1005, 1008), 8]
    assert (again.torn_bytes, file.stat().st_size) == (0, before)
    assert shown(opened(tmp_path).take(20)[0]) == shown(found)
    again.commit(place)
    assert not opened(tmp_path, place).waiting_bytes


@pytest.mark.parametrize("cut", [1, SIZE - 1, -5])
def test_a_segment_whose_end_is_damaged_ends_in_a_hole_when_others_follow(tmp_path: Path, cut: int) -> None:
    first = opened(tmp_path)
    first.append(records(0, 3))
    [file] = [path for path in files(tmp_path) if path.stat().st_size]
    opened(tmp_path).append(records(5, 2))
    data = file.read_bytes()
    file.write_bytes(data[:-cut] if cut > 0 else data[:cut] + bytes(-cut))

    assert shown(opened(tmp_path).take(9)[0]) == [0, 1, (1001, 1005), 5, 6]


def test_zeros_at_the_end_are_no_records(tmp_path: Path) -> None:
    opened(tmp_path).append(records(0, 2))
    [file] = [path for path in files(tmp_path) if path.stat().st_size]
    with file.open("ab") as end:
        end.write(bytes(4096))

    again = opened(tmp_path)

    assert shown(again.take(9)[0]) == [0, 1] and again.torn_bytes == 4096


@pytest.mark.parametrize(("number", "hole"), [(0, (1000, 1001)), (2, (1001, 1003)), (5, (1004, 1005))])
def test_what_is_damaged_while_the_process_runs_is_a_hole(tmp_path: Path, number: int, hole: tuple[int, int]) -> None:
    found = opened(tmp_path)
    found.append(records(0, 6))
    [file] = [path for path in files(tmp_path) if path.stat().st_size]
    damage(file, number * SIZE + 20)

    taken = shown(found.take(9)[0])
    while not found.is_taken:
        taken += shown(found.take(9)[0])
    found.append(records(6, 1))

    assert [each for each in taken if isinstance(each, int)] == [n for n in range(6) if n != number]
    assert taken[number] == hole
    assert shown(found.take(9)[0]) == [6]


def test_a_stopped_journal_that_is_all_committed_leaves_no_file(tmp_path: Path) -> None:
    found = opened(tmp_path)
    found.append(records(0, 3))
    _, place = found.take(3)
    found.commit(place)
    found.close()

    assert files(tmp_path) == []


def test_places_of_an_emptied_journal_lie_behind_those_that_were_committed(tmp_path: Path) -> None:
    """Else the first records after a restart would be taken for committed ones."""
    found = opened(tmp_path)
    found.append(records(0, 3))
    _, place = found.take(3)
    found.commit(place)
    found.close()

    again = opened(tmp_path, place)
    again.append(records(3, 1))
    _, later = again.take(1)

    assert later > place
