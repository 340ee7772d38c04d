"""Several files at once: globs, lists, and files with more than one name."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from tests.logs.driving import Tailing, descriptors, open_in, write


def test_a_glob_takes_rotated_files_as_what_they_are(tmp_path: Path) -> None:
    for name in ("a.log", "b.log", "error-404.log"):
        write(tmp_path / name, f"{name} 1")
    tailing = Tailing(tmp_path, logfile="*.log*")
    tailing.drain()
    for name in ("a.log", "b.log"):
        (tmp_path / name).rename(tmp_path / f"{name}.1")
        tailing.drain()
        write(tmp_path / name, f"{name} 2")
    (tmp_path / "b.log.1.gz").write_bytes(gzip.compress((tmp_path / "b.log.1").read_bytes()))
    (tmp_path / "b.log.1").unlink()
    tailing.restart()
    tailing.drain()
    assert sorted(tailing.lines) == ["a.log 1", "a.log 2", "b.log 1", "b.log 2", "error-404.log 1"]


def test_thousands_of_files_in_a_folder_are_no_burden(tmp_path: Path) -> None:
    for number in range(2000):
        write(tmp_path / f"{number}.access.log", str(number))
    with descriptors(3000):
        tailing = Tailing(tmp_path, logfile="*.access.log")
        assert len(tailing.drain()) == 2000
        for number in range(0, 2000, 2):
            (tmp_path / f"{number}.access.log").unlink()
        tailing.restart()
        # each look would take a minute if it listed the folder for each file
        assert len(tailing.drain()) == 2000
        tailing.tail.stop()


def test_daily_files_of_a_glob_are_each_read_whole(tmp_path: Path) -> None:
    tailing = Tailing(tmp_path, logfile="access-*.log")
    expected = []
    for day in range(10, 20):
        write(tmp_path / f"access-2026-11-{day}.log", f"day {day}")
        expected.append(f"day {day}")
        tailing.drain()
        tailing.restart()
    assert tailing.drain() == expected


@pytest.mark.parametrize("name", [b"caf\xe9.log", b"caf\\xe9.log", b"a\\\\b.log", "caf\u00e9.log".encode()])
def test_a_file_name_of_any_bytes_can_be_stored(tmp_path: Path, name: bytes) -> None:
    log = tmp_path / os.fsdecode(name)
    write(log, "a")
    tailing = Tailing(tmp_path, logfile="*.log")
    tailing.drain()
    assert "".join([*tailing.cursors, *tailing.cursors.values(), *tailing.tail.context.notes.values()]).encode()
    write(log, "b")
    tailing.restart()
    assert tailing.drain() == ["a", "b"]
    log.unlink()
    tailing.drain()
    tailing.now += 8 * 86400
    tailing.drain()
    assert list(tailing.cursors) == ["since *.log"]


def test_a_link_and_the_file_it_leads_to_are_one(tmp_path: Path) -> None:
    write(tmp_path / "day1.log", "a")
    (tmp_path / "current.log").symlink_to("day1.log")
    assert Tailing(tmp_path, logfile="*.log").drain() == ["a"]


@pytest.mark.parametrize("restart", [True, False])
def test_a_log_that_is_renamed_over_another_is_read_once(tmp_path: Path, restart: bool) -> None:
    write(tmp_path / "a.log", "a1", "a2")
    write(tmp_path / "b.log", "b1")
    tailing = Tailing(tmp_path, logfile="*.log")
    tailing.drain()
    (tmp_path / "a.log").rename(tmp_path / "b.log")
    if restart:
        tailing.restart()
    tailing.drain()
    before = open_in(tmp_path)
    write(tmp_path / "b.log", "a3")
    assert tailing.drain() == ["a1", "a2", "b1", "a3"]
    assert open_in(tmp_path) <= before + 1


def test_a_dated_log_whose_plain_name_appears_later_is_read_once(tmp_path: Path) -> None:
    write(tmp_path / "app.2026-11-26.log", "a")
    tailing = Tailing(tmp_path, logfile="*.log")
    tailing.drain()
    write(tmp_path / "app.log", "b")
    tailing.drain()
    write(tmp_path / "app.2026-11-26.log", "c")
    tailing.restart()
    assert tailing.drain() == ["a", "b", "c"]


def test_a_file_that_is_configured_under_two_names_is_read_once(tmp_path: Path) -> None:
    write(tmp_path / "day1.log", "a")
    (tmp_path / "current").symlink_to("day1.log")
    tailing = Tailing(tmp_path, logfile="current, day1.log")
    tailing.drain()
    write(tmp_path / "day1.log", "b")
    tailing.restart()
    assert tailing.drain() == ["a", "b"]
