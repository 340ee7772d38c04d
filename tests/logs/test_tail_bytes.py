"""What becomes of the bytes of a line."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import pytest

from aggregator.logs.tail import Tail
from aggregator.runtime.contract import Send
from aggregator.runtime.message import encode_body
from tests.logs.driving import Tailing, make, real_lines, write


def test_a_line_becomes_the_same_bytes_as_the_encoder_of_messages_makes(tmp_path: Path, log: Path) -> None:
    chance = random.Random(1)
    texts = [*real_lines()[:50], "", '"\\/\b\f\t\x00\x1f\x7f', "ü – 𝄞 \u2028\u2029", "\\u0000"]
    texts += ["".join(chr(chance.randrange(0x20, 0xD800)) for _ in range(20)) for _ in range(50)]
    write(log, *texts)
    tail = make(Tail, tmp_path, logfile="access.log", servicename='w"ü', pushto="q", batch=1000)
    tail.start()
    bodies = [outcome.body for outcome in tail.poll(1.0) if isinstance(outcome, Send)]
    tail.stop()
    assert bodies == [encode_body({"service": 'w"ü', "logline": text}) for text in texts]


def test_line_ends_are_left_out_and_empty_lines_are_lines(tmp_path: Path, log: Path) -> None:
    log.write_bytes(b"a\r\n\n\r\nb\rc\r\r\nd\n")
    assert Tailing(tmp_path).drain() == ["a", "", "", "b\rc\r", "d"]


def test_invalid_utf8_is_kept_escaped_and_counted(tmp_path: Path, log: Path) -> None:
    log.write_bytes(b"caf\xe9 \xc3\xbc\nb\n\xff\n")
    tailing = Tailing(tmp_path)
    assert tailing.drain() == ["caf\\xe9 ü", "b", "\\xff"]
    assert tailing.counts == {"escaped": 2}


@pytest.mark.parametrize("batch", [1, 100])
def test_lines_over_the_limit_are_cut_and_counted(tmp_path: Path, log: Path, batch: int) -> None:
    lengths = [255, 256, 257, 10_000, 300_000, 3]
    write(log, *("x" * length for length in lengths))
    tailing = Tailing(tmp_path, maxline=256, batch=batch)
    assert [len(line) for line in tailing.drain()] == [min(length, 256) for length in lengths]
    assert tailing.counts == {"cut": 3}


def test_a_cut_does_not_part_a_character(tmp_path: Path, log: Path) -> None:
    write(log, "x" * 255 + "üü", "y" * 254 + "𝄞")
    tailing = Tailing(tmp_path, maxline=256)
    assert tailing.drain() == ["x" * 255, "y" * 254]
    assert tailing.counts == {"cut": 2}


def test_a_long_line_that_is_not_over_yet_waits_and_costs_no_memory(tmp_path: Path, log: Path) -> None:
    write(log, "before")
    with log.open("ab") as file:
        for _ in range(64):
            file.write(b"x" * 1024**2)
    tailing = Tailing(tmp_path, maxline=1024)
    tracemalloc.start()
    assert tailing.drain() == ["before"]
    write(log, "", "after")
    assert tailing.drain() == ["before", "x" * 1024, "after"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 1024**2


def test_nuls_are_kept(tmp_path: Path, log: Path) -> None:
    log.write_bytes(b"a\0b\n\0\0c\n")
    assert Tailing(tmp_path).drain() == ["a\0b", "\0\0c"]


def test_a_line_is_taken_once_its_newline_is_there(tmp_path: Path, log: Path) -> None:
    log.write_bytes(b"a\nhal")
    tailing = Tailing(tmp_path)
    assert tailing.drain() == ["a"]
    tailing.restart()
    write(log, "f")
    assert tailing.drain() == ["a", "half"]
