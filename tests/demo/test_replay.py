"""The replay writes every line once, dated now, over rotations, pauses and kills."""

import gzip
import re
import signal
import subprocess
import sys
from datetime import datetime, timezone
from itertools import cycle, islice
from pathlib import Path

import pytest

from aggregator.demo.replay import dated, main, replay, rotate, shipped_lines
from tests.demo.programs import demo
from tests.processes import PROJECT, lines_of
from tests.servers import alive, wait_until

NOW = datetime(2026, 11, 2, 3, 4, 5, tzinfo=timezone.utc)
DATE = b"[02/Nov/2026:03:04:05 +0000]"


class Clock:
    """A clock that goes on when somebody sleeps, and says stop at its end."""

    def __init__(self, ends_at: float, oversleep_s: float = 0.0) -> None:
        self.time, self._ends_at, self._oversleep_s = 0.0, ends_at, oversleep_s

    def __call__(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds + self._oversleep_s

    def is_over(self) -> bool:
        return self.time >= self._ends_at


def play(target: Path, clock: Clock, *, rate: float, rotate_every: int) -> list[str]:
    reports: list[str] = []
    replay(
        target,
        rate=rate,
        rotate_every=rotate_every,
        stop=clock.is_over,
        clock=clock,
        now=lambda: NOW,
        sleep=clock.sleep,
        report=reports.append,
    )
    return reports


def kept_lines(target: Path) -> list[bytes]:
    """Return the lines of all files there are, oldest first."""
    files = sorted(target.parent.glob(f"{target.name}*"), reverse=True)
    contents = [gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes() for file in files]
    return b"".join(contents).splitlines(keepends=True)


def expected_lines(count: int) -> list[bytes]:
    return [re.sub(rb"\[.*?\]", DATE, line, count=1) for line in islice(cycle(shipped_lines()), count)]


def test_the_shipped_log_is_two_thousand_combined_lines() -> None:
    lines = shipped_lines()

    assert len(lines) == 2000
    assert all(re.fullmatch(rb'\S+ - - \[[^]]+\] "[^"]*" \d{3} (\d+|-) "[^"]*" "[^"]*"\n', line) for line in lines)


def test_only_the_date_of_a_line_changes() -> None:
    line = b'192.0.2.7 - - [17/May/2015:10:05:03 +0200] "GET /a[1] HTTP/1.1" 200 7 "-" "[en]"\n'

    assert dated(line, NOW) == b'192.0.2.7 - - %s "GET /a[1] HTTP/1.1" 200 7 "-" "[en]"\n' % DATE


def test_every_line_is_written_once_and_in_order_over_rotations(tmp_path: Path) -> None:
    target = tmp_path / "demo" / "access.log"

    play(target, Clock(25.0), rate=101.0, rotate_every=700)

    written = kept_lines(target)
    assert 2400 <= len(written) <= 2525
    assert written == expected_lines(len(written))
    assert sorted(file.name for file in target.parent.iterdir()) == [
        "access.log",
        "access.log.1",
        "access.log.2.gz",
        "access.log.3.gz",
    ]
    assert len(target.with_name("access.log.1").read_bytes().splitlines()) == 700


def test_the_fourth_file_back_goes(tmp_path: Path) -> None:
    target = tmp_path / "access.log"

    play(target, Clock(10.1), rate=10.0, rotate_every=10)

    written = kept_lines(target)
    assert len(list(tmp_path.iterdir())) == 4
    assert 31 <= len(written) <= 40
    last_lines = expected_lines(101)
    assert any(written == last_lines[end - len(written) : end] for end in range(len(written), 102))


def test_a_rate_above_the_file_size_rotates_within_one_go(tmp_path: Path) -> None:
    target = tmp_path / "access.log"

    play(target, Clock(1.0), rate=100.0, rotate_every=10)

    written = kept_lines(target)
    assert 20 <= len(written) <= 40
    assert len(target.with_name("access.log.1").read_bytes().splitlines()) == 10


@pytest.mark.parametrize("rate", [0.5, 5.0, 250.0])
def test_the_rate_is_kept(tmp_path: Path, rate: float) -> None:
    target = tmp_path / "access.log"

    play(target, Clock(60.0, oversleep_s=0.01), rate=rate, rotate_every=10**6)

    assert len(kept_lines(target)) == pytest.approx(60 * rate, rel=0.02, abs=1)


def test_a_pause_of_the_machine_is_not_made_up(tmp_path: Path) -> None:
    target = tmp_path / "access.log"

    play(target, Clock(7200.0, oversleep_s=3600.0), rate=10.0, rotate_every=10**6)

    assert len(kept_lines(target)) == 10


def test_what_the_file_holds_stays_and_counts(tmp_path: Path) -> None:
    target = tmp_path / "access.log"
    target.write_bytes(b"old\n" * 8)

    play(target, Clock(1.0), rate=4.0, rotate_every=10)

    assert target.with_name("access.log.1").read_bytes() == b"old\n" * 8 + b"".join(expected_lines(2))
    assert kept_lines(target)[:8] == [b"old\n"] * 8


@pytest.mark.parametrize(
    "left",
    [
        {"access.log.2": b"c", "access.log.3.gz": b"b"},
        {"access.log.1": b"d", "access.log.2": b"c", "access.log.2.part": b"half", "access.log.3.gz": b"b"},
        {"access.log.1": b"d", "access.log.2": b"c", "access.log.2.gz": b"c", "access.log.3.gz": b"b"},
    ],
    ids=["before .1 is free", "while it compresses", "before the plain copy goes"],
)
def test_a_rotation_that_was_killed_is_finished_by_the_next(tmp_path: Path, left: dict[str, bytes]) -> None:
    target = tmp_path / "access.log"
    for name, text in left.items():
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    target.write_bytes(b"e")

    rotate(target)

    kept = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert kept["access.log.1"] == b"e"
    assert gzip.decompress(kept["access.log.3.gz"]) == b"c"
    assert "access.log.2" not in kept
    assert not any(name.endswith(".part") for name in kept)


def test_a_summary_is_reported_each_minute_and_at_the_end(tmp_path: Path) -> None:
    reports = play(tmp_path / "access.log", Clock(130.0), rate=2.0, rotate_every=10**6)

    assert [line.split()[0] for line in reports] == ["replaying", "replaying", "stopped"]
    assert int(reports[-1].rpartition("lines=")[2]) == len(kept_lines(tmp_path / "access.log"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_whole_lines_and_exit_code_0(tmp_path: Path, number: signal.Signals) -> None:
    target = tmp_path / "data" / "access.log"

    with demo("replay", "--to", str(target), "--rate", "400", "--rotate-every", "150") as process:
        wait_until(lambda: target.with_name("access.log.1").exists())
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (0, "")
    assert output.splitlines()[0] == f"started file={target} rate=400 rotate_every=150"
    written = [re.sub(rb"\[.*?\]", DATE, line, count=1) for line in kept_lines(target)]
    # the first files are gone when we were slow to send the signal
    all_lines = int(output.rpartition("lines=")[2])
    assert len(written) == all_lines or len(written) > 3 * 150
    assert written == expected_lines(all_lines)[-len(written) :]


def test_it_ends_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    target = tmp_path / "access.log"
    supervisor = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'aggregator.demo.replay', '--to', sys.argv[1]])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", supervisor, str(target)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        try:
            pid = int(lines_of(process).readline())
            wait_until(target.exists)
        finally:
            process.kill()
    wait_until(lambda: not alive(pid), message="the orphan ends")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "0"], "needs a number above 0 (found '0')"),
        (["--rate", "inf"], "needs a number above 0 (found 'inf')"),
        (["--rotate-every", "0"], "needs a whole number from 1 (found '0')"),
        (["--rotate-every", "x"], "invalid"),
    ],
)
def test_bad_usage_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)

    assert message in capsys.readouterr().err
