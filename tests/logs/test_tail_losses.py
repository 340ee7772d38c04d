"""What is read twice or not at all is told: to the log, to the books and to `aggregator health`."""

from __future__ import annotations

import gzip
import os
import shutil
import time
from pathlib import Path

import pytest

from aggregator.runtime.context import Report
from tests.logs.driving import Tailing, numbered, write


def size_of(lines: list[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)


def reports(tailing: Tailing) -> dict[str, Report]:
    return {code: report for (code, _), report in tailing.tail.context.reports.items()}


def empty_redis(tailing: Tailing, state: str = "another") -> None:
    """Stop, forget every position, and start with another state."""
    tailing.cursors.clear()
    tailing.options["state"] = state
    tailing.restart()


# Positions that are gone


def test_what_is_read_again_for_an_emptied_redis_is_told(
    tmp_path: Path, log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain(2)
    write(log, *numbered(10, 15))
    empty_redis(tailing)
    assert tailing.drain(2) == [*numbered(0, 10), *numbered(0, 15)]
    told = reports(tailing)["began_anew"]
    assert told.lasting
    assert f"access.log ({size_of(numbered(0, 10))} bytes are read a second time)" in told.text
    assert "began_anew" in caplog.text
    assert tailing.counts["began_anew"] == 1
    tailing.restart()
    tailing.drain(2)
    assert "began_anew" not in reports(tailing), "once is enough: the section knows its positions again"


def test_what_from_end_leaves_out_for_an_emptied_redis_is_told(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path, from_="end")
    tailing.poll()
    write(log, *numbered(10, 15))
    empty_redis(tailing)
    assert tailing.drain(2) == []
    assert f"({size_of(numbered(10, 15))} bytes are left out)" in reports(tailing)["began_anew"].text


@pytest.mark.parametrize("section", ["worker_test", "worker_renamed"])
def test_the_same_state_without_positions_is_told_too(tmp_path: Path, log: Path, section: str) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path, section="worker_test")
    tailing.drain(2)
    tailing.options["section"] = section
    empty_redis(tailing, "state")
    tailing.drain(2)
    assert "began_anew" in reports(tailing)


def test_of_a_section_that_was_renamed_the_latest_note_counts(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path, section="worker_a")
    tailing.drain(2)
    tailing.options["section"] = "worker_b"
    tailing.restart()
    write(log, *numbered(10, 15))
    tailing.drain(2)
    empty_redis(tailing)
    tailing.drain(2)
    assert f"({size_of(numbered(0, 15))} bytes are read a second time)" in reports(tailing)["began_anew"].text


def test_what_a_killed_section_has_read_is_told_too(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain(3)
    killed = tailing.tail
    tailing.cursors.clear()
    tailing.options["state"] = "another"
    tailing.start()
    tailing.drain(2)
    killed.stop()
    assert "began_anew" in reports(tailing)


def test_files_rotated_since_are_read_for_an_emptied_redis(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    write(log.with_name("access.log.1"), "history")
    os.utime(log.with_name("access.log.1"), (1_700_000_000,) * 2)
    tailing = Tailing(tmp_path)
    tailing.now = time.time() - 60.0
    tailing.drain(2)
    log.with_name("access.log.1").rename(log.with_name("access.log.2"))
    write(log, *numbered(10, 20))
    log.rename(log.with_name("access.log.1"))
    write(log, *numbered(20, 30))
    empty_redis(tailing)
    assert tailing.drain(2) == [*numbered(0, 10), *numbered(0, 30)]


@pytest.mark.parametrize("restart", [True, False])
def test_new_logs_and_new_sections_have_nothing_to_tell(tmp_path: Path, log: Path, restart: bool) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path, logfile="*.log")
    tailing.drain(2)
    write(tmp_path / "new.log", *numbered(0, 10))
    log.rename(log.with_name("access.log.1"))
    write(log, *numbered(20, 30))
    if restart:
        tailing.restart()
    tailing.drain(2)
    assert reports(tailing) == {}


# Files that are gone


def gone(tailing: Tailing) -> str:
    """Return what is told of the file that vanished; nothing when nothing is."""
    tailing.drain()
    told = reports(tailing).get("vanished")
    assert tailing.counts.get("vanished", 0) == (told is not None)
    assert told is None or told.lasting
    return told.text if told else ""


@pytest.mark.parametrize("moved", [True, False])
@pytest.mark.parametrize("successor", [True, False])
def test_a_file_that_vanished_while_away_is_told_once(
    tmp_path: Path, log: Path, moved: bool, successor: bool, caplog: pytest.LogCaptureFixture
) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain(2)
    tailing.tail.stop()
    (tmp_path / "away").mkdir()
    write(log, *numbered(10, 20))
    log.rename(tmp_path / "away/old") if moved else log.unlink()
    if successor:
        write(log, *numbered(20, 30))
    tailing.restart()
    assert f"access.log was read up to byte {size_of(numbered(0, 10))}" in gone(tailing)
    assert "vanished" in caplog.text
    tailing.restart()
    assert gone(tailing) == ""


def test_the_bytes_that_were_known_not_to_be_read_are_told(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 1000))
    tailing = Tailing(tmp_path, batch=10)
    tailing.poll()
    left = size_of(numbered(0, 1000)) - size_of(tailing.lines)
    tailing.tail.stop()
    log.unlink()
    tailing.restart()
    assert f"{left} bytes of it were not read" in gone(tailing)
    assert tailing.counts["vanished_bytes"] == left


def test_a_rotated_file_that_was_not_read_to_its_end_is_told_of(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 1000))
    tailing = Tailing(tmp_path, batch=10)
    tailing.poll()
    rotated = log.rename(log.with_name("access.log.1"))
    write(log, "after")
    tailing.poll()
    tailing.tail.stop()
    rotated.unlink()
    tailing.restart()
    assert "bytes of it were not read" in gone(tailing)


def test_a_truncation_of_what_was_not_read_is_told_of(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 1000))
    tailing = Tailing(tmp_path, batch=10)
    tailing.poll()
    log.write_text("new\n")
    assert "bytes of it were not read" in gone(tailing)


@pytest.mark.parametrize("compress", [True, False])
def test_the_end_of_rotated_files_that_were_read_is_nothing_to_tell(tmp_path: Path, log: Path, compress: bool) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain(2)
    rotated = log.rename(log.with_name("access.log.1"))
    write(log, *numbered(10, 20))
    tailing.drain(2)
    if compress:
        rotated.with_name("access.log.1.gz").write_bytes(gzip.compress(rotated.read_bytes()))
        rotated.unlink()
        rotated = rotated.with_name("access.log.1.gz")
        tailing.restart()
        tailing.drain(2)
    tailing.tail.stop()
    rotated.unlink()
    tailing.restart()
    assert gone(tailing) == ""


@pytest.mark.parametrize("how", ["unlink", "truncate", "copytruncate", "moved"])
def test_what_a_running_tail_has_read_is_nothing_to_tell(tmp_path: Path, log: Path, how: str) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain(2)
    if how == "unlink":
        log.unlink()
    elif how == "moved":
        (tmp_path / "old").mkdir()
        log.rename(tmp_path / "old/access.log")
    else:
        if how == "copytruncate":
            shutil.copy(log, log.with_name("access.log.1"))
        os.truncate(log, 0)
    tailing.poll()
    write(log, *numbered(10, 20))
    assert gone(tailing) == ""
    assert tailing.lines == numbered(0, 20)


def test_dated_logs_that_expire_while_away_are_nothing_to_tell(tmp_path: Path) -> None:
    for day in range(10, 20):
        write(tmp_path / f"access-2026-11-{day}.log", f"day {day}")
    tailing = Tailing(tmp_path, logfile="access-*.log")
    tailing.now = time.time() + 86400
    tailing.drain(3)
    tailing.tail.stop()
    for day in range(10, 15):
        (tmp_path / f"access-2026-11-{day}.log").unlink()
    tailing.restart()
    assert gone(tailing) == ""


def test_of_very_many_files_that_vanished_some_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(100):
        write(tmp_path / f"{number}.log", str(number))
    tailing = Tailing(tmp_path, logfile="*.log")
    tailing.drain(2)
    for number in range(50):
        (tmp_path / f"{number}.log").unlink()
    tailing.restart()
    tailing.drain()
    assert tailing.counts["vanished"] == 50
    assert len(tailing.tail.context.reports) == 21
    assert all(f"vanished about={number}.log" in caplog.text for number in range(50))


def test_a_file_that_is_back_is_no_loss(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain(2)
    tailing.tail.stop()
    write(log, *numbered(10, 20))
    log.rename(tmp_path.with_name("elsewhere"))
    tailing.restart()
    assert gone(tailing)
    tmp_path.with_name("elsewhere").rename(log)
    tailing.drain(2)
    assert reports(tailing) == {}
    assert tailing.lines == numbered(0, 20)


# Patterns without a file


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("access_log*", ["access_log.1764288000", "access_log.1764374400"]),
        ("logfile.*", ["logfile.2026.11.27", "logfile.2026.11.28"]),
        ("dspace.log*", ["dspace.log.2026-11-27", "dspace.log.2026-11-28"]),
        ("catalina.*", ["catalina.1", "catalina.2"]),
    ],
)
def test_a_glob_of_dated_files_without_a_live_log_is_read(tmp_path: Path, pattern: str, names: list[str]) -> None:
    write(tmp_path / names[0], "a")
    tailing = Tailing(tmp_path, logfile=pattern)
    assert tailing.drain() == ["a"]
    write(tmp_path / names[1], "b")
    tailing.restart()
    assert tailing.drain() == ["a", "b"]
    assert tailing.tail.context.notes["files"] == "2"
    assert reports(tailing) == {}
    # the plain name may come yet, and is a log beside them
    write(tmp_path / names[0].split(".")[0], "c")
    write(tmp_path / names[0], "d")
    for _ in range(2):
        expected = ["a", "b", "c", "d"] if pattern == "access_log*" else ["a", "b", "d"]
        assert sorted(tailing.drain()) == expected
        tailing.restart()


def test_a_log_of_another_port_is_none_of_the_rotated_ones(tmp_path: Path, log: Path) -> None:
    write(log, "a")
    write(tmp_path / "access.443.log", "b")
    tailing = Tailing(tmp_path, logfile="*.log")
    assert sorted(tailing.drain()) == ["a", "b"]
    alone = Tailing(tmp_path, section="worker_alone")
    alone.drain()
    write(tmp_path / "access.443.log", "c")
    log.rename(log.with_name("access.1.log"))
    write(log, "d")
    assert alone.drain() == ["a", "d"]
    assert sorted(tailing.drain()) == ["a", "b", "c", "d"]


def test_a_glob_that_follows_nothing_is_told_until_it_follows_something(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "access.log.gz", "packed")
    tailing = Tailing(tmp_path, logfile="access*")
    tailing.poll()
    assert (reports(tailing)["follows_nothing"].level, reports(tailing)["follows_nothing"].about) == (
        "warning",
        "access*",
    )
    tailing.now += 300
    tailing.poll()
    assert reports(tailing)["follows_nothing"].level == "error"
    assert caplog.text.count("follows_nothing") == 1
    write(tmp_path / "access.log", "a")
    tailing.drain()
    assert reports(tailing) == {}
    (tmp_path / "access.log").unlink()
    tailing.drain()
    assert reports(tailing) == {}, "the next one may come in a moment"
    tailing.now += 60
    tailing.poll()
    tailing.now += 3600
    tailing.poll()
    assert reports(tailing)["follows_nothing"].level == "warning"


@pytest.mark.parametrize(("make", "code"), [(False, "follows_nothing"), (True, "unreadable")])
def test_a_path_that_cannot_be_read_is_told_until_it_can(tmp_path: Path, log: Path, make: bool, code: str) -> None:
    if make:
        log.mkdir()
    tailing = Tailing(tmp_path)
    tailing.poll()
    tailing.now += 300
    tailing.poll()
    assert {code: "warning" if make else "error"} == {code: each.level for code, each in reports(tailing).items()}
    if make:
        log.rmdir()
    write(log, "a")
    tailing.drain()
    assert reports(tailing) == {}


def test_what_a_glob_matches_and_cannot_be_read_is_told_as_one(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number:02}.log").symlink_to(f"{number:02}.log")  # nobody can open it
    tailing = Tailing(tmp_path, logfile="*.log")
    tailing.drain(2)
    assert len(tailing.tail.context.reports) == 1
    assert reports(tailing)["unreadable"].text.startswith("100 files cannot be read: 00.log: Too many")
    for path in tmp_path.glob("*.log"):
        path.unlink()
    write(tmp_path / "a.log", "a")
    tailing.drain(2)
    assert reports(tailing) == {}
