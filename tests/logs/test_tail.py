from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import shutil
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import simplejson
import zstandard

from aggregator.logs.following.openfile import PlainFile
from aggregator.logs.tail import Tail
from aggregator.runtime.contract import Cursor, Send
from aggregator.runtime.message import encode_body
from tests.logs.driving import Tailing, descriptors, make, nobody, real_lines


def write(path: Path, *lines: str) -> None:
    with path.open("ab") as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def numbered(start: int, stop: int) -> list[str]:
    """Return log lines that tell where they are from."""
    lines = real_lines()
    return [f"{number} {lines[number % len(lines)]}" for number in range(start, stop)]


def open_in(folder: Path) -> int:
    """Return how many files of a folder this process has open; what else it opens and closes does not count."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own is closed again
            found += Path(os.readlink(f"/proc/self/fd/{number}")).is_relative_to(folder)
    return found


@pytest.fixture
def public() -> Iterator[Path]:
    """Return a folder that others than its owner reach."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


# What becomes of a line


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


# Where reading begins


def test_a_file_that_is_there_at_the_first_run_is_read_from_its_start(tmp_path: Path, log: Path) -> None:
    write(log, "a", "b")
    assert Tailing(tmp_path).drain() == ["a", "b"]


def test_from_end_leaves_out_what_is_there_but_not_the_line_in_progress(tmp_path: Path, log: Path) -> None:
    log.write_bytes(b"a\nb\nhal")
    tailing = Tailing(tmp_path, from_="end")
    assert tailing.drain() == []
    tailing.restart()
    write(log, "f", "c")
    assert tailing.drain() == ["half", "c"]


def test_from_end_leaves_out_what_a_file_holds_that_could_not_be_opened_at_first(tmp_path: Path, log: Path) -> None:
    write(log, "a", "b")
    write(tmp_path / "other.txt", "c")
    tailing = Tailing(tmp_path, logfile="access.log, other.txt", from_="end")
    with descriptors(0):
        tailing.poll()
    tailing.restart()
    (tmp_path / "other.txt").rename(tmp_path / "away")
    write(tmp_path / "other.txt", "new")
    assert tailing.drain() == ["new"]
    write(log, "d")
    tailing.restart()
    assert tailing.drain() == ["new", "d"]


def test_a_file_that_could_not_be_opened_at_first_and_vanished_is_forgotten(tmp_path: Path, log: Path) -> None:
    write(log, "a", "b")
    tailing = Tailing(tmp_path, from_="end")
    with descriptors(0):
        tailing.poll()
    assert list(tailing.cursors) == ["access.log#0", "since access.log"]
    log.unlink()
    tailing.drain()
    assert list(tailing.cursors) == ["since access.log"]


def test_from_end_reads_files_that_appear_later_from_their_start(tmp_path: Path) -> None:
    tailing = Tailing(tmp_path, logfile="*.log, other.txt", from_="end")
    tailing.poll()
    tailing.restart()
    write(tmp_path / "new.log", "a")
    write(tmp_path / "other.txt", "b")
    assert sorted(tailing.drain()) == ["a", "b"]


def test_rotated_files_from_before_the_first_run_are_not_read(tmp_path: Path, log: Path) -> None:
    write(log.with_name("access.log.1"), *numbered(10, 20))
    log.with_name("access.log.2.gz").write_bytes(gzip.compress("\n".join(numbered(0, 10)).encode()))
    write(log, *numbered(20, 30))
    tailing = Tailing(tmp_path)
    tailing.poll()
    log.with_name("access.log.2.gz").rename(log.with_name("access.log.3.gz"))
    log.with_name("access.log.1").rename(log.with_name("access.log.2"))
    log.rename(log.with_name("access.log.1"))
    write(log, *numbered(30, 40))
    tailing.restart()
    assert tailing.drain() == numbered(20, 40)


def test_a_log_that_appeared_and_was_rotated_while_away_is_read_whole_even_after_a_second_kill(tmp_path: Path) -> None:
    tailing = Tailing(tmp_path, logfile="*.log")
    tailing.now = 1_700_000_000.0
    tailing.poll()
    for age, name in enumerate(["new.log", "new.log.1", "new.log.2"]):
        write(tmp_path / name, *numbered(100 - 10 * age, 110 - 10 * age))
        os.utime(tmp_path / name, (1_700_500_000 - 86400 * age,) * 2)
    tailing.now = 1_700_500_000.0
    tailing.restart()
    tailing.poll(commits=2)
    tailing.restart()
    assert tailing.drain() == numbered(80, 110)


def test_a_path_that_is_taken_out_of_the_configuration_and_put_back_goes_on(tmp_path: Path, log: Path) -> None:
    write(log, "a")
    tailing = Tailing(tmp_path)
    tailing.drain()
    tailing.options["logfile"] = "other.log"
    tailing.restart()
    tailing.drain()
    write(log, "b")
    tailing.options["logfile"] = "*.log"
    tailing.restart()
    assert tailing.drain() == ["a", "b"]


# Rotation


@pytest.mark.parametrize(
    "name",
    [
        "access.log.1",
        "access.log-20261122",
        "access.log.2026-11-22_10-00",
        "access.log.old",
        "access-20261122.log",
        "elsewhere",
    ],
)
@pytest.mark.parametrize("restart", [True, False])
def test_a_renamed_file_is_finished_before_the_new_one(tmp_path: Path, log: Path, name: str, restart: bool) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    write(log, *numbered(10, 20))
    log.rename(tmp_path / name)
    write(log, *numbered(20, 30))
    if restart:
        tailing.restart()
    assert tailing.drain() == numbered(0, 30)


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


def test_dated_rotations_while_away_are_read_oldest_first(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    for day in range(1, 6):
        log.rename(log.with_name(f"access.log-2026110{day}"))
        write(log, *numbered(day * 10, day * 10 + 10))
    tailing.restart()
    assert tailing.drain() == numbered(0, 60)


@pytest.mark.parametrize("restart", [True, False])
def test_rotated_files_of_a_folder_that_a_link_leads_to_are_read_once(tmp_path: Path, restart: bool) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    log = tmp_path / "real/access.log"
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path, logfile="link/access.log")
    tailing.drain()
    log.rename(log.with_name("access.log.2"))
    write(log.with_name("access.log.1"), *numbered(10, 20))
    write(log, *numbered(20, 30))
    if restart:
        tailing.restart()
    assert tailing.drain() == numbered(0, 30)


def test_a_rotated_file_with_two_names_is_read_once(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    log.rename(log.with_name("access.log.2"))
    write(log.with_name("access.log.1"), *numbered(10, 20))
    log.with_name("access.log-20261126").hardlink_to(log.with_name("access.log.1"))
    write(log, *numbered(20, 30))
    log.with_name("access.log.old").hardlink_to(log)
    tailing.restart()
    assert tailing.drain() == numbered(0, 30)


def test_a_rotated_file_that_is_removed_at_once_is_finished_by_a_running_tail(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    write(log, *numbered(10, 3000))
    log.unlink()
    write(log, *numbered(3000, 3010))
    assert tailing.drain() == numbered(0, 3010)


def test_lines_that_come_late_into_a_rotated_file_are_taken(tmp_path: Path, log: Path) -> None:
    write(log, "a")
    tailing = Tailing(tmp_path)
    tailing.drain()
    rotated = log.with_name("access.log.1")
    log.rename(rotated)
    write(log, "b")
    tailing.drain()
    write(rotated, "late")
    tailing.drain()
    write(rotated, "later")
    tailing.restart()
    assert tailing.drain() == ["a", "b", "late", "later"]


def test_the_last_line_of_a_rotated_file_is_one_without_its_newline(tmp_path: Path, log: Path) -> None:
    log.write_bytes(b"a\nlast")
    tailing = Tailing(tmp_path)
    tailing.drain()
    log.rename(log.with_name("access.log.1"))
    write(log, "b")
    tailing.poll()
    assert tailing.lines == ["a"], "somebody may still be writing it"
    assert tailing.drain() == ["a", "last", "b"]


def test_a_line_whose_rest_comes_after_the_rotation_stays_whole(tmp_path: Path, log: Path) -> None:
    log.write_bytes(b"a\nla")
    tailing = Tailing(tmp_path)
    tailing.drain()
    rotated = log.with_name("access.log.1")
    log.rename(rotated)
    write(log, "b")
    tailing.poll()
    write(rotated, "st")
    assert tailing.drain() == ["a", "last", "b"]


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


def test_rotated_files_are_found_beside_what_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    log = tmp_path / "elsewhere/access.log"
    write(log, *numbered(0, 10))
    (tmp_path / "current").symlink_to(log)
    tailing = Tailing(tmp_path, logfile="current")
    tailing.drain()
    write(log, *numbered(10, 20))
    log.rename(log.with_name("access.log.2"))
    write(log.with_name("access.log.1"), *numbered(20, 30))
    write(log, *numbered(30, 40))
    tailing.restart()
    assert tailing.drain() == numbered(0, 40)


def test_a_link_beside_the_log_that_leads_nowhere_is_nothing_to_wait_for(tmp_path: Path, log: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    write(log, "a")
    tailing = Tailing(tmp_path)
    tailing.drain()
    log.rename(log.with_name("access.log.1"))
    write(log, "b")
    tailing.restart()
    assert tailing.drain() == ["a", "b"]


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


def test_a_backup_that_somebody_brings_back_is_not_read_and_told_of_once(
    tmp_path: Path, log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    backup = log.with_name("access.log.5")
    write(backup, *numbered(500, 600))
    os.utime(backup, (1_700_000_000, 1_700_000_000))
    log.rename(log.with_name("access.log.1"))
    tailing.restart()
    tailing.drain()
    write(log, *numbered(10, 20))
    assert tailing.drain() == numbered(0, 20)
    assert caplog.text.count(f"left_out path={backup}") == 1


@pytest.mark.parametrize("age", [3500, 0])
def test_a_rotated_file_may_be_a_little_older_than_the_newest_that_was_read(
    tmp_path: Path, log: Path, age: int
) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path)
    tailing.drain()
    changed_at = log.stat().st_mtime
    log.rename(log.with_name("access.log.2"))
    between = log.with_name("access.log.1")
    write(between, *numbered(10, 20))
    os.utime(between, (changed_at - age,) * 2)
    write(log, *numbered(20, 30))
    tailing.restart()
    assert tailing.drain() == numbered(0, 30)


def test_a_time_of_change_in_the_future_shuts_out_nothing(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tomorrow = log.stat().st_mtime + 86400
    os.utime(log, (tomorrow, tomorrow))
    tailing = Tailing(tmp_path)
    tailing.drain()
    log.rename(log.with_name("access.log.2"))
    write(log.with_name("access.log.1"), *numbered(10, 20))
    write(log, *numbered(20, 30))
    tailing.restart()
    assert tailing.drain() == numbered(0, 30)


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


# Logs that begin alike

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


# Truncation, deletion, return


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


# Several files


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


def test_a_link_that_leads_to_a_new_file_is_a_rotation(tmp_path: Path) -> None:
    write(tmp_path / "day1", *numbered(0, 10))
    link = tmp_path / "current"
    link.symlink_to("day1")
    tailing = Tailing(tmp_path, logfile="current")
    tailing.poll()
    write(tmp_path / "day1", *numbered(10, 20))
    write(tmp_path / "day2", *numbered(20, 30))
    link.unlink()
    link.symlink_to("day2")
    tailing.restart()
    assert tailing.drain() == numbered(0, 30)


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


def test_lines_written_and_rotated_while_the_tail_looks_come_out_once_and_in_order(tmp_path: Path, log: Path) -> None:
    lines = numbered(0, 20_000)

    def serve() -> None:
        chance = random.Random(7)
        at = 0
        while at < len(lines):
            count = chance.randrange(1, 700)
            write(log, *lines[at : at + count])
            at += count
            for number in range(200, 0, -1):
                for suffix in ("", ".gz"):
                    old = log.with_name(f"access.log.{number}{suffix}")
                    if old.exists():
                        old.rename(log.with_name(f"access.log.{number + 1}{suffix}"))
            rotated = log.with_name("access.log.1")
            log.rename(rotated)
            before = log.with_name("access.log.2")
            if before.exists():
                packed = before.with_name("access.log.2.gz")
                packed.write_bytes(gzip.compress(before.read_bytes(), 1))
                os.utime(packed, ns=(before.stat().st_atime_ns, before.stat().st_mtime_ns))
                before.unlink()

    tailing = Tailing(tmp_path)
    tailing.poll()
    server = threading.Thread(target=serve)
    server.start()
    while server.is_alive():
        tailing.poll()
        if random.random() < 0.02:
            tailing.restart()
    server.join()
    assert tailing.drain() == lines
