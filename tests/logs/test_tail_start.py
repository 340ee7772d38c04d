"""Where reading begins: at the first run, with `from = end`, and for logs that appear later."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

from tests.logs.driving import Tailing, descriptors, numbered, write


def test_a_file_that_is_there_at_the_first_run_is_read_from_its_start(tmp_path: Path, log: Path) -> None:
    write(log, "a", "b")
    assert Tailing(tmp_path).drain() == ["a", "b"]


def test_from_end_leaves_out_what_is_there_but_not_the_line_in_progress(tmp_path: Path, log: Path) -> None:
    log.write_bytes(b"a\nb\nhal")
    tailing = Tailing(tmp_path, from_="end")
    assert tailing.drain() == []
    tailing.restart()
    write(log, "f", "c")
    assert tailing.drain() == ["half", "c"]


def test_from_end_leaves_out_what_a_file_holds_that_could_not_be_opened_at_first(tmp_path: Path, log: Path) -> None:
    write(log, "a", "b")
    write(tmp_path / "other.txt", "c")
    tailing = Tailing(tmp_path, logfile="access.log, other.txt", from_="end")
    with descriptors(0):
        tailing.poll()
    tailing.restart()
    (tmp_path / "other.txt").rename(tmp_path / "away")
    write(tmp_path / "other.txt", "new")
    assert tailing.drain() == ["new"]
    write(log, "d")
    tailing.restart()
    assert tailing.drain() == ["new", "d"]


def test_a_file_that_could_not_be_opened_at_first_and_vanished_is_forgotten(tmp_path: Path, log: Path) -> None:
    write(log, "a", "b")
    tailing = Tailing(tmp_path, from_="end")
    with descriptors(0):
        tailing.poll()
    assert list(tailing.cursors) == ["access.log#0", "since access.log"]
    log.unlink()
    tailing.drain()
    assert list(tailing.cursors) == ["since access.log"]


def test_from_end_reads_files_that_appear_later_from_their_start(tmp_path: Path) -> None:
    tailing = Tailing(tmp_path, logfile="*.log, other.txt", from_="end")
    tailing.poll()
    tailing.restart()
    write(tmp_path / "new.log", "a")
    write(tmp_path / "other.txt", "b")
    assert sorted(tailing.drain()) == ["a", "b"]


def test_rotated_files_from_before_the_first_run_are_not_read(tmp_path: Path, log: Path) -> None:
    write(log.with_name("access.log.1"), *numbered(10, 20))
    log.with_name("access.log.2.gz").write_bytes(gzip.compress("\n".join(numbered(0, 10)).encode()))
    write(log, *numbered(20, 30))
    tailing = Tailing(tmp_path)
    tailing.poll()
    log.with_name("access.log.2.gz").rename(log.with_name("access.log.3.gz"))
    log.with_name("access.log.1").rename(log.with_name("access.log.2"))
    log.rename(log.with_name("access.log.1"))
    write(log, *numbered(30, 40))
    tailing.restart()
    assert tailing.drain() == numbered(20, 40)


def test_a_log_that_appeared_and_was_rotated_while_away_is_read_whole_even_after_a_second_kill(tmp_path: Path) -> None:
    tailing = Tailing(tmp_path, logfile="*.log")
    tailing.now = 1_700_000_000.0
    tailing.poll()
    for age, name in enumerate(["new.log", "new.log.1", "new.log.2"]):
        write(tmp_path / name, *numbered(100 - 10 * age, 110 - 10 * age))
        os.utime(tmp_path / name, (1_700_500_000 - 86400 * age,) * 2)
    tailing.now = 1_700_500_000.0
    tailing.restart()
    tailing.poll(commits=2)
    tailing.restart()
    assert tailing.drain() == numbered(80, 110)


def test_a_path_that_is_taken_out_of_the_configuration_and_put_back_goes_on(tmp_path: Path, log: Path) -> None:
    write(log, "a")
    tailing = Tailing(tmp_path)
    tailing.drain()
    tailing.options["logfile"] = "other.log"
    tailing.restart()
    tailing.drain()
    write(log, "b")
    tailing.options["logfile"] = "*.log"
    tailing.restart()
    assert tailing.drain() == ["a", "b"]
