"""Logs and their copies: what a file holds tells what it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.logs.driving import Tailing
from tests.logs.test_tail import numbered, write


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


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
