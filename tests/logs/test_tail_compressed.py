"""Rotated files that are compressed, or just being compressed, are read as what they hold."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tests.logs.driving import Tailing, numbered, write


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstandard.compress)],
)
def test_several_rotations_while_away_are_read_oldest_first(
    tmp_path: Path, log: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    write(log, *numbered(0, 500))
    tailing = Tailing(tmp_path, batch=10)
    tailing.poll()
    for number, name in enumerate(["access.log.3", "access.log.2", "access.log.1"], 1):
        write(log, *numbered(500 * number, 500 * number + 500))
        rotated = log.with_name(name)
        log.rename(rotated)
        if number < 3:
            rotated.with_name(name + suffix).write_bytes(compress(rotated.read_bytes()))
            rotated.unlink()
    write(log, *numbered(2000, 2010))
    tailing.restart()
    # .3 holds 0 to 1000, for the first lines were never rotated
    assert tailing.drain() == numbered(0, 2010)


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_a_compressed_file_that_is_damaged_is_read_as_far_as_it_goes(
    tmp_path: Path, log: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    write(log, *numbered(10, 5000))
    packed = compress(log.read_bytes())
    log.with_name(f"access.log.1{suffix}").write_bytes(packed[: len(packed) // 2])
    log.unlink()
    write(log, "after")
    tailing.restart()
    lines = tailing.drain()
    assert lines[-1] == "after"
    assert lines[:-2] == numbered(0, 5000)[: len(lines) - 2], "all but the line that was torn"
    assert len(lines) > 100
    assert tailing.counts["broken"] == 1


def test_a_compressor_at_work_is_no_new_file(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 1000))
    tailing = Tailing(tmp_path, batch=10)
    tailing.poll()
    rotated = log.with_name("access.log.1")
    log.rename(rotated)
    packed = gzip.compress(rotated.read_bytes())
    partly = rotated.with_name("access.log.1.gz")
    partly.write_bytes(packed[: len(packed) // 2])
    write(log, *numbered(1000, 1010))
    tailing.restart()
    tailing.poll()
    partly.write_bytes(packed)
    rotated.unlink()
    tailing.restart()
    assert tailing.drain() == numbered(0, 1010)


def test_an_unknown_rotated_file_with_its_compressor_at_work_is_read_once(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    log.rename(log.with_name("access.log.2"))
    between = log.with_name("access.log.1")
    write(between, *numbered(10, 1000))
    packed = gzip.compress(between.read_bytes())
    between.with_name("access.log.1.gz").write_bytes(packed[: len(packed) // 2])
    write(log, *numbered(1000, 1010))
    tailing.restart()
    assert tailing.drain() == numbered(0, 1010)
