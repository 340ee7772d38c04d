"""A log that is rotated is read on: each line once, in order, whatever the rotated files are called."""

from __future__ import annotations

import gzip
import os
import random
import threading
from pathlib import Path

import pytest

from tests.logs.driving import Tailing, numbered, write


@pytest.mark.parametrize(
    "name",
    [
        "access.log.1",
        "access.log-20261122",
        "access.log.2026-11-22_10-00",
        "access.log.old",
        "access-20261122.log",
        "elsewhere",
    ],
)
@pytest.mark.parametrize("restart", [True, False])
def test_a_renamed_file_is_finished_before_the_new_one(tmp_path: Path, log: Path, name: str, restart: bool) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    write(log, *numbered(10, 20))
    log.rename(tmp_path / name)
    write(log, *numbered(20, 30))
    if restart:
        tailing.restart()
    assert tailing.drain() == numbered(0, 30)


def test_dated_rotations_while_away_are_read_oldest_first(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    for day in range(1, 6):
        log.rename(log.with_name(f"access.log-2026110{day}"))
        write(log, *numbered(day * 10, day * 10 + 10))
    tailing.restart()
    assert tailing.drain() == numbered(0, 60)


@pytest.mark.parametrize("restart", [True, False])
def test_rotated_files_of_a_folder_that_a_link_leads_to_are_read_once(tmp_path: Path, restart: bool) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    log = tmp_path / "real/access.log"
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path, logfile="link/access.log")
    tailing.drain()
    log.rename(log.with_name("access.log.2"))
    write(log.with_name("access.log.1"), *numbered(10, 20))
    write(log, *numbered(20, 30))
    if restart:
        tailing.restart()
    assert tailing.drain() == numbered(0, 30)


def test_a_rotated_file_with_two_names_is_read_once(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    log.rename(log.with_name("access.log.2"))
    write(log.with_name("access.log.1"), *numbered(10, 20))
    log.with_name("access.log-20261126").hardlink_to(log.with_name("access.log.1"))
    write(log, *numbered(20, 30))
    log.with_name("access.log.old").hardlink_to(log)
    tailing.restart()
    assert tailing.drain() == numbered(0, 30)


def test_a_rotated_file_that_is_removed_at_once_is_finished_by_a_running_tail(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    write(log, *numbered(10, 3000))
    log.unlink()
    write(log, *numbered(3000, 3010))
    assert tailing.drain() == numbered(0, 3010)


def test_lines_that_come_late_into_a_rotated_file_are_taken(tmp_path: Path, log: Path) -> None:
    write(log, "a")
    tailing = Tailing(tmp_path)
    tailing.drain()
    rotated = log.with_name("access.log.1")
    log.rename(rotated)
    write(log, "b")
    tailing.drain()
    write(rotated, "late")
    tailing.drain()
    write(rotated, "later")
    tailing.restart()
    assert tailing.drain() == ["a", "b", "late", "later"]


def test_the_last_line_of_a_rotated_file_is_one_without_its_newline(tmp_path: Path, log: Path) -> None:
    log.write_bytes(b"a\nlast")
    tailing = Tailing(tmp_path)
    tailing.drain()
    log.rename(log.with_name("access.log.1"))
    write(log, "b")
    tailing.poll()
    assert tailing.lines == ["a"], "somebody may still be writing it"
    assert tailing.drain() == ["a", "last", "b"]


def test_a_line_whose_rest_comes_after_the_rotation_stays_whole(tmp_path: Path, log: Path) -> None:
    log.write_bytes(b"a\nla")
    tailing = Tailing(tmp_path)
    tailing.drain()
    rotated = log.with_name("access.log.1")
    log.rename(rotated)
    write(log, "b")
    tailing.poll()
    write(rotated, "st")
    assert tailing.drain() == ["a", "last", "b"]


def test_rotated_files_are_found_beside_what_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    log = tmp_path / "elsewhere/access.log"
    write(log, *numbered(0, 10))
    (tmp_path / "current").symlink_to(log)
    tailing = Tailing(tmp_path, logfile="current")
    tailing.drain()
    write(log, *numbered(10, 20))
    log.rename(log.with_name("access.log.2"))
    write(log.with_name("access.log.1"), *numbered(20, 30))
    write(log, *numbered(30, 40))
    tailing.restart()
    assert tailing.drain() == numbered(0, 40)


def test_a_link_beside_the_log_that_leads_nowhere_is_nothing_to_wait_for(tmp_path: Path, log: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    write(log, "a")
    tailing = Tailing(tmp_path)
    tailing.drain()
    log.rename(log.with_name("access.log.1"))
    write(log, "b")
    tailing.restart()
    assert tailing.drain() == ["a", "b"]


def test_a_backup_that_somebody_brings_back_is_not_read_and_told_of_once(
    tmp_path: Path, log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    backup = log.with_name("access.log.5")
    write(backup, *numbered(500, 600))
    os.utime(backup, (1_700_000_000, 1_700_000_000))
    log.rename(log.with_name("access.log.1"))
    tailing.restart()
    tailing.drain()
    write(log, *numbered(10, 20))
    assert tailing.drain() == numbered(0, 20)
    assert caplog.text.count(f"left_out path={backup}") == 1


@pytest.mark.parametrize("age", [3500, 0])
def test_a_rotated_file_may_be_a_little_older_than_the_newest_that_was_read(
    tmp_path: Path, log: Path, age: int
) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    changed_at = log.stat().st_mtime
    log.rename(log.with_name("access.log.2"))
    between = log.with_name("access.log.1")
    write(between, *numbered(10, 20))
    os.utime(between, (changed_at - age,) * 2)
    write(log, *numbered(20, 30))
    tailing.restart()
    assert tailing.drain() == numbered(0, 30)


def test_a_time_of_change_in_the_future_shuts_out_nothing(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tomorrow = log.stat().st_mtime + 86400
    os.utime(log, (tomorrow, tomorrow))
    tailing = Tailing(tmp_path)
    tailing.drain()
    log.rename(log.with_name("access.log.2"))
    write(log.with_name("access.log.1"), *numbered(10, 20))
    write(log, *numbered(20, 30))
    tailing.restart()
    assert tailing.drain() == numbered(0, 30)


def test_a_link_that_leads_to_a_new_file_is_a_rotation(tmp_path: Path) -> None:
    write(tmp_path / "day1", *numbered(0, 10))
    link = tmp_path / "current"
    link.symlink_to("day1")
    tailing = Tailing(tmp_path, logfile="current")
    tailing.poll()
    write(tmp_path / "day1", *numbered(10, 20))
    write(tmp_path / "day2", *numbered(20, 30))
    link.unlink()
    link.symlink_to("day2")
    tailing.restart()
    assert tailing.drain() == numbered(0, 30)


def test_lines_written_and_rotated_while_the_tail_looks_come_out_once_and_in_order(tmp_path: Path, log: Path) -> None:
    lines = numbered(0, 20_000)

    def serve() -> None:
        chance = random.Random(7)
        at = 0
        while at < len(lines):
            count = chance.randrange(1, 700)
            write(log, *lines[at : at + count])
            at += count
            for number in range(200, 0, -1):
                for suffix in ("", ".gz"):
                    old = log.with_name(f"access.log.{number}{suffix}")
                    if old.exists():
                        old.rename(log.with_name(f"access.log.{number + 1}{suffix}"))
            rotated = log.with_name("access.log.1")
            log.rename(rotated)
            before = log.with_name("access.log.2")
            if before.exists():
                packed = before.with_name("access.log.2.gz")
                packed.write_bytes(gzip.compress(before.read_bytes(), 1))
                os.utime(packed, ns=(before.stat().st_atime_ns, before.stat().st_mtime_ns))
                before.unlink()

    tailing = Tailing(tmp_path)
    tailing.poll()
    server = threading.Thread(target=serve)
    server.start()
    while server.is_alive():
        tailing.poll()
        if random.random() < 0.02:
            tailing.restart()
    server.join()
    assert tailing.drain() == lines
