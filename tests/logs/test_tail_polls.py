"""A poll ends soon, commits as it goes, and keeps few files open."""

from __future__ import annotations

from pathlib import Path

from aggregator.logs.tail import Tail
from aggregator.runtime.contract import Cursor
from tests.logs.driving import Tailing, make, numbered, open_in, write


def test_a_busy_file_starves_no_other_and_a_poll_ends(tmp_path: Path) -> None:
    write(tmp_path / "busy.log", *numbered(0, 5000))
    write(tmp_path / "quiet.log", "quiet")
    tailing = Tailing(tmp_path, logfile="*.log", batch=50)
    assert tailing.poll() <= 11 * 50
    assert "quiet" in tailing.lines
    assert len(tailing.drain()) == 5001


def test_each_cursor_covers_about_a_batch(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 1000))
    tail = make(Tail, tmp_path, logfile="access.log", servicename="s", pushto="q", batch=100)
    tail.start()
    outcomes = list(tail.poll(1.0))
    assert sum(isinstance(outcome, Cursor) for outcome in outcomes) == 12  # the live file, since, ten batches
    assert isinstance(outcomes[-1], Cursor)
    tail.stop()


def test_a_poll_that_is_broken_off_at_a_cursor_goes_on_behind_it(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 1000))
    tailing = Tailing(tmp_path)
    for cursors in range(200):
        tailing.poll(commits=1 + cursors % 5)
    assert tailing.drain() == numbered(0, 1000)


def test_a_look_that_is_broken_off_sets_no_position_back(tmp_path: Path) -> None:
    for name in ("a.log", "b.log"):
        write(tmp_path / name, name)
    tailing = Tailing(tmp_path, logfile="*.log", idletime="10s")

    tailing.poll(commits=1)
    tailing.poll()
    tailing.restart()

    assert sorted(tailing.drain(12)) == ["a.log", "b.log"]


def test_a_file_that_was_quiet_for_long_is_closed_and_followed_all_the_same(tmp_path: Path, log: Path) -> None:
    write(log, "a")
    tailing = Tailing(tmp_path)
    tailing.drain()
    assert open_in(tmp_path) == 1
    tailing.now += 7200
    tailing.drain()
    assert open_in(tmp_path) == 0
    write(log, "b")
    assert tailing.drain() == ["a", "b"]
    tailing.now += 7200
    tailing.drain()
    write(log, "c")
    log.rename(log.with_name("access.log.1"))
    write(log, "d")
    assert tailing.drain() == ["a", "b", "c", "d"]
