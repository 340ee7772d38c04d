"""Replay a real access log for ever, as if the web server were writing it now.

The lines keep everything but their date. The file is rotated as logrotate does it (rename, delaycompress): FILE.1 is
the previous file as it was, FILE.2.gz and FILE.3.gz are the two files before it, and older files are removed.
"""

import argparse
import gzip
import re
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.resources import files
from itertools import cycle, islice
from pathlib import Path

from aggregator.demo.stopping import StopRequest

# Seconds between two checks for a request to stop; the lines due by then are written in one go.
_TICK_S = 0.25
_SUMMARY_S = 60.0
_DATE = re.compile(rb"\[[^\]]*\]")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def shipped_lines() -> list[bytes]:
    """Return the lines of the access log that comes with the package, each with its newline."""
    packed = files("aggregator.demo").joinpath("access.log.gz").read_bytes()
    return gzip.decompress(packed).splitlines(keepends=True)


def dated(line: bytes, when: datetime) -> bytes:
    """Return a line with its date replaced by `when`, a time in UTC."""
    # Not strftime: it takes its month names from the locale.
    date = f"[{when.day:02}/{_MONTHS[when.month - 1]}/{when.year:04}:{when:%H:%M:%S} +0000]"
    return _DATE.sub(date.encode(), line, count=1)


def replay(
    target: Path,
    *,
    rate: float,
    rotate_every: int,
    stop: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    sleep: Callable[[float], None] = time.sleep,
    report: Callable[[str], None] = print,
) -> None:
    """Append `rate` lines a second to `target` until `stop()`, with a rotation each `rotate_every` lines.

    Lines that the file holds at the start stay and count. After a pause of the machine, missed lines are not made up.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    source = cycle(shipped_lines())
    in_file, written, owed = _count_lines(target), 0, 0.0
    before = reported_at = clock()
    while not stop():
        at = clock()
        owed += min(at - before, 1.0) * rate
        before = at
        due = list(islice(source, int(owed)))
        owed -= len(due)
        written += len(due)
        while due:
            if in_file >= rotate_every:
                rotate(target)
                in_file = 0
            room = rotate_every - in_file
            chunk, due = due[:room], due[room:]
            _append(target, b"".join(dated(line, now()) for line in chunk))
            in_file += len(chunk)
        if at - reported_at >= _SUMMARY_S:
            report(f"replaying file={target} lines={written}")
            reported_at = at
        sleep(_TICK_S)
    report(f"stopped file={target} lines={written}")


def rotate(target: Path) -> None:
    """Move `target` to .1, .1 to .2.gz and .2.gz to .3.gz; the old .3.gz is removed."""
    first, second, third = (target.with_name(f"{target.name}.{number}") for number in (1, 2, 3))
    if second.exists():
        _compress(second)  # an earlier rotation was killed before it could compress this file
    if _gz(second).exists():
        _gz(second).rename(_gz(third))
    # order: free the name .1, move the live file, compress last, so that each line is in some file at any moment
    if first.exists():
        first.rename(second)
    if target.exists():
        target.rename(first)
    if second.exists():
        _compress(second)


def _compress(file: Path) -> None:
    part = file.with_name(f"{file.name}.part")
    part.write_bytes(gzip.compress(file.read_bytes(), mtime=0))
    part.rename(_gz(file))
    file.unlink()


def _gz(file: Path) -> Path:
    return file.with_name(f"{file.name}.gz")


def _append(target: Path, lines: bytes) -> None:
    # Opened anew each time, so that a new file is begun after somebody removed or renamed the old one.
    with target.open("ab") as file:
        file.write(lines)


def _count_lines(file: Path) -> int:
    if not file.exists():
        return 0
    with file.open("rb") as lines:
        return sum(1 for _ in lines)


def _above_zero(text: str) -> float:
    if not (0 < (number := float(text)) < float("inf")):
        raise argparse.ArgumentTypeError(f"needs a number above 0 (found {text!r})")
    return number


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"needs a whole number from 1 (found {text!r})")
    return number


def main(argv: list[str]) -> int:
    """Run the replay until SIGTERM, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="aggregator demo replay", description="Write a real access log, dated now, to a file for ever."
    )
    parser.add_argument("--to", type=Path, default=Path("data/demo/access.log"), metavar="FILE", help="log to write")
    parser.add_argument("--rate", type=_above_zero, default=5.0, metavar="N", help="lines a second (default 5)")
    parser.add_argument(
        "--rotate-every",
        type=_count,
        default=2000,
        metavar="N",
        help="rotate the file after so many lines (default 2000)",
    )
    options = parser.parse_args(argv)
    stop = StopRequest()
    print(f"started file={options.to} rate={options.rate:g} rotate_every={options.rotate_every}", flush=True)
    replay(
        options.to,
        rate=options.rate,
        rotate_every=options.rotate_every,
        stop=stop,
        report=lambda line: print(line, flush=True),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
