"""Files that go, return or take the place of another are known for what they are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import simplejson

from tests.logs.driving import Tailing, numbered, write


def test_a_short_beginning_does_not_make_a_file_one_that_is_gone(tmp_path: Path, log: Path) -> None:
    write(log, "start")
    tailing = Tailing(tmp_path)
    tailing.drain()
    (tmp_path / "away").mkdir()
    log.rename(tmp_path / "away/access.log")
    tailing.drain()
    tailing.restart()
    tailing.drain()
    write(log.with_name("access.log.1"), "start", "b")
    write(log, "c")
    assert tailing.drain() == ["start", "start", "b", "c"]


def test_files_whose_device_has_another_number_are_known_by_their_beginning(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    log.rename(log.with_name("access.log.1"))
    write(log, *numbered(10, 20))
    tailing.drain()
    for name in tailing.cursors:
        tailing.cursors[name] = tailing.cursors[name].replace('"dev":', '"dev":9')
    tailing.restart()
    write(log, *numbered(20, 30))
    assert tailing.drain() == numbered(0, 30)


def test_a_position_of_an_older_form_goes_on(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    for name, text in tailing.cursors.items():
        if "#" in name:
            fields = simplejson.loads(text)
            tailing.cursors[name] = simplejson.dumps({k: v for k, v in fields.items() if not k.startswith("last_")})
    log.rename(log.with_name("access.log.1"))
    write(log, *numbered(10, 20))
    tailing.restart()
    assert tailing.drain() == numbered(0, 20)


def test_a_file_that_is_removed_and_returns_goes_on(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    away = tmp_path / "away"
    away.mkdir()
    shutil.copy(log, away)
    log.unlink()
    tailing.drain()
    tailing.restart()
    tailing.drain()
    shutil.move(away / "access.log", log)
    write(log, *numbered(10, 20))
    assert tailing.drain() == numbered(0, 20)


def test_a_new_file_with_the_inode_of_an_old_one_is_a_new_file(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    tailing.tail.stop()
    inode = log.stat().st_ino
    for attempt in range(200):  # until the file system hands the inode out again
        log.unlink()
        write(log, *numbered(10, 40))
        if log.stat().st_ino == inode:
            break
        log.rename(tmp_path / f"other{attempt}")
        log.touch()
    else:
        os.truncate(log, 0)
        write(log, *numbered(10, 40))
    tailing.restart()
    assert tailing.drain() == numbered(0, 40)


def test_the_positions_of_files_that_are_gone_are_forgotten_after_a_week(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path / f"{number}.log", *numbered(number, number + 10))
    tailing = Tailing(tmp_path, logfile="*.log")
    tailing.drain()
    assert len(tailing.cursors) == 6
    for number in range(1, 5):
        (tmp_path / f"{number}.log").unlink()
    tailing.drain()
    tailing.restart()
    tailing.now += 6 * 86400
    tailing.drain()
    assert len(tailing.cursors) == 6
    tailing.now += 2 * 86400
    tailing.drain()
    assert sorted(tailing.cursors) == ["0.log#0", "since *.log"]


def test_a_new_log_with_the_inode_of_a_rotated_file_that_was_removed_is_followed(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path, logfile="*.log")
    tailing.drain()
    rotated = log.rename(log.with_name("access.log.1"))
    write(log, *numbered(10, 20))
    tailing.drain()
    tailing.restart()
    tailing.drain()
    inode = rotated.stat().st_ino
    new = rotated.rename(tmp_path / "new.log")
    new.write_text("new\n")  # as if the inode had been handed out again
    assert new.stat().st_ino == inode
    assert tailing.drain() == [*numbered(0, 20), "new"]
