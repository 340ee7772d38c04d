"""Logs and their copies: what a file holds tells what it is."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tests.logs.driving import Tailing, numbered, write


def replace_by_longer_copy(log: Path, *lines: str) -> None:
    new = log.parent / "new"
    shutil.copy(log, new)
    write(new, *lines)
    new.rename(log)


@pytest.mark.parametrize("count", [1, 10, 500])
@pytest.mark.parametrize("logfile", ["access.log", "*.log", "*"])
def test_a_log_that_is_replaced_by_a_longer_copy_goes_on(tmp_path: Path, log: Path, count: int, logfile: str) -> None:
    write(log, *numbered(0, count))
    tailing = Tailing(tmp_path, logfile=logfile)
    tailing.drain(2)
    for number in (1, 2):
        replace_by_longer_copy(log, *numbered(number * count, (number + 1) * count))
        assert tailing.drain() == numbered(0, (number + 1) * count)
    tailing.restart()
    write(log, "after")
    assert tailing.drain() == [*numbered(0, 3 * count), "after"]


def test_a_log_that_is_replaced_by_a_shorter_copy_is_read_again_which_is_told(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 300))
    tailing = Tailing(tmp_path)
    tailing.drain(2)
    new = log.parent / "new"
    write(new, *numbered(0, 200))
    new.rename(log)

    lines = tailing.drain()

    assert lines == [*numbered(0, 300), *numbered(0, 200)]
    assert [code for code, _ in tailing.tail.context.reports] == ["read_again"]


def test_what_was_not_read_yet_of_a_log_that_is_replaced_is_read_once(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 500))
    tailing = Tailing(tmp_path, batch=10)
    tailing.poll()
    with log.open("ab") as file:
        file.write(b"500 par")
    new = log.parent / "new"
    shutil.copy(log, new)
    with new.open("ab") as file:
        file.write(b"tial\n")
    new.rename(log)
    assert tailing.drain() == [*numbered(0, 500), "500 partial"]


def test_lines_that_only_the_replaced_log_has_are_read_too(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain(2)
    with log.open("ab", buffering=0) as writer:
        writer.write(f"{numbered(10, 11)[0]}\n".encode())
        shutil.copy(log, log.parent / "new")
        writer.write(b"only here\n")
        write(log.parent / "new", "only there")
        (log.parent / "new").rename(log)
        tailing.drain(2)
        writer.write(b"late\n")
        assert sorted(tailing.drain()) == sorted([*numbered(0, 11), "late", "only here", "only there"])


def test_a_log_that_is_being_overwritten_with_a_longer_copy_is_waited_for(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 100))
    tailing = Tailing(tmp_path)
    tailing.drain(2)
    copy = log.read_bytes() + "".join(f"{line}\n" for line in numbered(100, 110)).encode()
    with log.open("wb", buffering=0) as copier:
        for at in range(0, len(copy), len(copy) // 3):
            tailing.poll()
            copier.write(copy[at : at + len(copy) // 3])
    assert tailing.drain() == numbered(0, 110)


def test_a_log_that_is_replaced_by_another_one_is_read_from_its_start(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain(2)
    write(tmp_path / "new", *numbered(10, 30))
    (tmp_path / "new").rename(log)
    assert tailing.drain() == numbered(0, 30)


@pytest.mark.parametrize(
    "name", ["access.log.bak", "access.log~", "access.log1764288000", "copy-of-it", "access-2.log"]
)
@pytest.mark.parametrize("begun", [True, False])
def test_a_copy_beside_the_log_is_not_read(tmp_path: Path, log: Path, name: str, begun: bool) -> None:
    write(log, *numbered(0, 50))
    tailing = Tailing(tmp_path, logfile="*")
    if begun:
        tailing.drain(2)
    shutil.copy(log, tmp_path / name)
    write(log, *numbered(50, 60))
    if not begun and not name.startswith("access.log"):
        return  # of two files that nobody has read, nothing tells which one is the copy
    assert tailing.drain() == numbered(0, 60)
    tailing.restart()
    tailing.drain(2)
    write(tmp_path / name, "its own")
    write(log, "more")
    assert sorted(tailing.drain()) == sorted([*numbered(0, 60), "its own", "more"])
    (tmp_path / name).unlink()
    tailing.restart()
    tailing.drain()
    assert tailing.tail.context.reports == {}


@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize("name", ["access.log1764288000", "access.log.20261128-x"])
def test_the_copy_of_copytruncate_is_known_under_any_name(tmp_path: Path, log: Path, name: str, restart: bool) -> None:
    write(log, *numbered(0, 50))
    tailing = Tailing(tmp_path, logfile="access.log*")
    tailing.drain(2)
    write(log, *numbered(50, 60))
    shutil.copy(log, tmp_path / name)
    os.truncate(log, 0)
    write(log, *numbered(60, 70))
    if restart:
        tailing.restart()
    assert tailing.drain() == numbered(0, 70)
    assert tailing.tail.context.reports == {}


def test_two_logs_that_begin_alike_are_both_read(tmp_path: Path) -> None:
    for name in ("a.log", "b.log"):
        write(tmp_path / name, *numbered(0, 2), f"{name} is another")
    for name in ("app", "app.err"):
        write(tmp_path / name, "started")
    tailing = Tailing(tmp_path, logfile="*.log, app*")
    assert len(tailing.drain()) == 8


def test_a_short_copy_is_known_by_its_name_too(tmp_path: Path, log: Path) -> None:
    write(log, "a", "b")
    write(tmp_path / "access.log.bak", "a", "b")
    assert Tailing(tmp_path, logfile="*").drain() == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("app.2026-11-28.0.log", None),
        ("access-2026-11-28T10-00-00.123.log.gz", gzip.compress),
        ("access.log.2026.11.28", None),
        ("@400000005f2b1c0a1f2e3d4c.s", None),
        ("old-one.zst", zstandard.compress),
        ("what ever", None),
    ],
)
def test_a_rotated_file_is_found_by_what_it_holds(
    tmp_path: Path, log: Path, name: str, compress: Callable[[bytes], bytes] | None
) -> None:
    write(log, *numbered(0, 50))
    tailing = Tailing(tmp_path)
    tailing.drain(2)
    write(log, *numbered(50, 60))
    tailing.tail.stop()
    (tmp_path / name).write_bytes(compress(log.read_bytes()) if compress else log.read_bytes())
    log.unlink()
    write(log, *numbered(60, 70))
    tailing.restart()
    assert tailing.drain() == numbered(0, 70)
    assert tailing.tail.context.reports == {}
