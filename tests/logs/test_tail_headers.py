"""Logs that begin alike, with a long header, are told apart."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import pytest

from tests.logs.driving import Tailing, numbered, write

HEADER = "#Fields: " + " ".join(f"field{number}" for number in range(60))


@pytest.mark.parametrize("compress", [0, 1, 2])
def test_several_rotations_of_a_log_with_a_long_header_are_told_apart(tmp_path: Path, log: Path, compress: int) -> None:
    write(log, HEADER, *numbered(0, 20))
    tailing = Tailing(tmp_path)
    tailing.drain()
    log.rename(log.with_name("access.log.2"))
    write(log.with_name("access.log.1"), HEADER, *numbered(20, 30))
    for number in range(compress):
        plain = log.with_name(f"access.log.{2 - number}")
        plain.with_name(plain.name + ".gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    write(log, HEADER, *numbered(30, 40))
    tailing.restart()
    assert [line for line in tailing.drain() if line != HEADER] == numbered(0, 40)
    assert tailing.lines.count(HEADER) == 3


@pytest.mark.parametrize("restart", [True, False])
def test_copytruncate_shows_though_the_log_grew_longer_and_has_a_long_header(
    tmp_path: Path, log: Path, restart: bool
) -> None:
    write(log, HEADER, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    write(log, *numbered(10, 20))
    shutil.copy(log, log.with_name("access.log.1"))
    os.truncate(log, 0)
    write(log, HEADER, *numbered(20, 60))
    if restart:
        tailing.restart()
    assert [line for line in tailing.drain() if line != HEADER] == numbered(0, 60)
    assert tailing.lines.count(HEADER) == 2


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("truncate", [True, False])
def test_a_copy_that_is_shorter_than_what_was_read_is_not_read(
    tmp_path: Path, log: Path, compress: bool, truncate: bool
) -> None:
    write(log, HEADER, *numbered(0, 10))
    copy = log.with_name("access.log.1.gz" if compress else "access.log.1")
    copy.write_bytes(gzip.compress(log.read_bytes()) if compress else log.read_bytes())
    write(log, *numbered(10, 20))
    tailing = Tailing(tmp_path)
    tailing.drain()
    if truncate:
        os.truncate(log, 0)
    else:
        log.rename(log.with_name("access.log.0"))
    write(log, *numbered(20, 30))
    tailing.restart()
    assert tailing.drain() == [HEADER, *numbered(0, 30)]
