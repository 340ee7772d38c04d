"""A log that is truncated is read from its start, and what it held before from its copy."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from aggregator.logs.following.openfile import PlainFile
from tests.logs.driving import Tailing, numbered, write


@pytest.mark.parametrize("restart", [True, False])
def test_a_file_cut_within_its_last_long_line_is_read_from_its_start(tmp_path: Path, log: Path, restart: bool) -> None:
    write(log, "x" * 100_000)
    tailing = Tailing(tmp_path, batch=1)
    tailing.drain()
    os.truncate(log, 500)
    write(log, "", "new")
    if restart:
        tailing.restart()
    assert tailing.drain() == ["x" * 100_000, "x" * 500, "new"]


@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize("more", [0, 1, 30])
def test_after_copytruncate_the_rest_is_read_from_the_copy(tmp_path: Path, log: Path, more: int, restart: bool) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    write(log, *numbered(10, 20))
    shutil.copy(log, log.with_name("access.log.1"))
    os.truncate(log, 0)
    write(log, *numbered(20, 20 + more))
    if restart:
        tailing.restart()
    assert tailing.drain() == numbered(0, 20 + more)


def test_a_copy_made_before_the_truncation_is_not_read_again(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    shutil.copy(log, log.with_name("access.log.1"))
    tailing.restart()
    tailing.drain()
    os.truncate(log, 0)
    tailing.drain()
    write(log, *numbered(10, 20))
    tailing.restart()
    assert tailing.drain() == numbered(0, 20)


def test_the_hole_that_a_writer_leaves_after_copytruncate_is_left_out_and_counted(tmp_path: Path, log: Path) -> None:
    tailing = Tailing(tmp_path)
    with log.open("wb", buffering=0) as writer:  # not in append mode: it goes on where it was
        writer.write("".join(f"{line}\n" for line in numbered(0, 2000)).encode())
        tailing.drain()
        for number in (1, 2):
            shutil.copy(log, log.with_name(f"access.log.{3 - number}"))
            os.truncate(log, 0)
            writer.write("".join(f"{line}\n" for line in numbered(2000 * number, 2000 * number + 2000)).encode())
            tailing.drain()
            tailing.restart()
    assert tailing.drain() == numbered(0, 6000)


def test_a_hole_is_gone_through_once(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with log.open("wb") as file:
        file.seek(256 * 1024**2)
        file.write(b"par")
    tailing = Tailing(tmp_path)
    tailing.poll()
    read = []
    read_at = PlainFile.read_at

    def count(file: PlainFile, offset: int, size: int) -> bytes:
        data = read_at(file, offset, size)
        read.append(len(data))
        return data

    monkeypatch.setattr(PlainFile, "read_at", count)
    for _ in range(30):
        tailing.poll()
    assert tailing.lines == []
    assert sum(read) < 1024**2
    write(log, "tial", "next")
    log.rename(log.with_name("access.log.1"))
    write(log, "after")
    assert tailing.drain() == ["partial", "next", "after"]
    assert tailing.counts == {"nul": 1}


def test_a_line_without_its_end_behind_a_hole_is_the_last_one(tmp_path: Path, log: Path) -> None:
    write(log, "a")
    tailing = Tailing(tmp_path, maxline=256)
    tailing.drain()
    log.rename(log.with_name("access.log.1"))
    log.write_bytes(b"\0" * 5000 + b"last")
    tailing.drain()
    log.rename(log.with_name("access.log.0"))
    write(log, "b")
    assert tailing.drain() == ["a", "last", "b"]


@pytest.mark.parametrize("lines", [5, 10, 50])
def test_a_truncated_file_is_read_from_its_start(tmp_path: Path, log: Path, lines: int) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    log.write_text("")
    write(log, *numbered(10, 10 + lines))
    assert tailing.drain() == numbered(0, 10 + lines)
