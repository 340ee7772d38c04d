"""What cannot be read is waited for, told of once, and tried again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.logs.driving import Tailing, descriptors, nobody, numbered, write


def test_a_rotated_file_that_may_not_be_read_yet_is_waited_for(public: Path) -> None:
    log = public / "access.log"
    write(log, *numbered(0, 10))
    tailing = Tailing(public)
    tailing.drain()
    log.rename(public / "access.log.2")
    between = public / "access.log.1"
    write(between, *numbered(10, 20))
    between.chmod(0)
    write(log, *numbered(20, 30))
    tailing.restart()
    with nobody():
        assert tailing.drain() == numbered(0, 10)
    between.chmod(0o644)
    with nobody():
        assert tailing.drain() == numbered(0, 30)


def test_a_rotated_file_that_may_not_be_read_for_a_minute_is_left_out(
    public: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = public / "access.log"
    write(log, *numbered(0, 10))
    (public / "access.log.3").write_text("from before\n")
    (public / "access.log.3").chmod(0)
    with nobody():
        tailing = Tailing(public)
        assert tailing.drain() == numbered(0, 10), "at the first look there is nothing to wait for"
    log.rename(public / "access.log.2")
    write(public / "access.log.1", *numbered(10, 20))
    (public / "access.log.1").chmod(0)
    write(log, *numbered(20, 30))
    tailing.restart()
    with nobody():
        tailing.drain()
        tailing.now += 60
        assert tailing.drain() == [*numbered(0, 10), *numbered(20, 30)]
    assert caplog.text.count(f"left_out path={public}/access.log.1") == 1


def test_a_log_in_a_folder_that_may_not_be_listed_is_followed(public: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = public / "logs"
    folder.mkdir()
    for name in ("access.log", "error.log"):
        write(folder / name, f"{name} a")
    folder.chmod(0o111)
    with nobody():
        tailing = Tailing(public, logfile="logs/access.log, logs/error.log")
        tailing.drain()
        tailing.restart()
        tailing.drain()
    write(folder / "access.log", "access.log b")
    with nobody():
        assert sorted(tailing.drain()) == ["access.log a", "access.log b", "error.log a"]
    assert caplog.text.count("unlistable") == 2, "one before the restart, one after it"
    folder.chmod(0o755)


def test_the_gap_between_a_rotation_and_the_next_line_is_nothing_to_warn_of(
    tmp_path: Path, log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(log, "a")
    tailing = Tailing(tmp_path)
    tailing.drain()
    log.rename(log.with_name("access.log.1"))
    tailing.drain()
    notes = tailing.tail.context.notes
    assert (caplog.text, notes["unreadable"]) == ("", "")
    tailing.now += 60
    tailing.drain()
    assert notes["unreadable"] == "access.log: No such file or directory"


def test_what_cannot_be_read_shows_warns_once_and_is_tried_again(
    tmp_path: Path, log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log.mkdir()
    os.mkfifo(tmp_path / "fifo.log")
    write(tmp_path / "fine.log", "fine")
    tailing = Tailing(tmp_path, logfile="access.log, missing.log, fifo.log, fine.log")
    assert tailing.drain() == ["fine"]
    assert tailing.tail.context.notes == {
        "files": "1",
        "unreadable": "access.log: not a regular file; missing.log: No such file or directory; "
        "fifo.log: not a regular file",
    }
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 3
    log.rmdir()
    (tmp_path / "fifo.log").unlink()
    for name in ("access.log", "fifo.log", "missing.log"):
        write(tmp_path / name, name)
    assert sorted(tailing.drain()) == ["access.log", "fifo.log", "fine", "missing.log"]
    assert tailing.tail.context.notes["unreadable"] == ""


def test_what_a_glob_matches_and_cannot_be_read_shows_and_warns_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "loop.log").symlink_to("loop.log")  # no one can open it, not even root
    (tmp_path / "dangling.log").symlink_to("nowhere")
    (tmp_path / "folder.log").mkdir()
    write(tmp_path / "fine.log", "fine")
    tailing = Tailing(tmp_path, logfile="*.log")
    assert tailing.drain() == ["fine"]
    assert tailing.tail.context.notes == {
        "files": "1",
        "unreadable": "loop.log: Too many levels of symbolic links",
    }
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    (tmp_path / "loop.log").unlink()
    tailing.drain()
    assert tailing.tail.context.notes["unreadable"] == ""


def test_a_failure_that_lasts_is_warned_of_once(tmp_path: Path, log: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(log, "a")
    tailing = Tailing(tmp_path)
    tailing.drain()
    tailing.restart()
    with descriptors(0):
        tailing.drain()
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_dated_logs_that_expire_are_no_trouble(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for day in range(10, 20):
        folder = tmp_path / f"{day}"
        folder.mkdir()
        write(folder / f"access-2026-11-{day}.log", f"day {day}")
    tailing = Tailing(tmp_path, logfile="*/access-*.log")
    tailing.drain()
    for day in range(10, 18):
        shutil.rmtree(tmp_path / f"{day}")
    tailing.now += 300
    tailing.drain()
    assert (caplog.text, tailing.tail.context.notes) == ("", {"files": "2", "unreadable": ""})
