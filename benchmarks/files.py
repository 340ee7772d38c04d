"""The speed and cost of copying lines from one file into two others, and the damage when all processes are killed."""

from __future__ import annotations

import gzip
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from redis.client import Redis

from benchmarks.report import Table, median
from benchmarks.rig import ROOT, end, private_redis
from benchmarks.ways import OURS, PIRUS2, RSYSLOG, RSYSLOG_ON_DISK, RSYSLOGD, Place, Way
from tests.servers import wait_until

ROUNDS = 3
OUTPUTS = ("first.log", "second.log")
DEADLINE_S = 120.0
QUIET_S = 3.0
"""An output that has not grown for this long after a kill will not grow any more."""


class Speed(NamedTuple):
    """The result of one undisturbed run; processor seconds are for a million lines."""

    lines_s: float
    processes_s: float
    redis_s: float


class Damage(NamedTuple):
    """How many lines were lost and how many were too many, in both files together."""

    lost: int
    doubled: int


def run() -> Iterator[Table]:
    """Measure; the ways take turns, on the same Redis."""
    ways = [OURS, PIRUS2, *((RSYSLOG, RSYSLOG_ON_DISK) if RSYSLOGD.exists() else ())]
    speeds: dict[Way, list[Speed]] = {way: [] for way in ways}
    damages: dict[Way, list[Damage]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, private_redis() as (url, client):
        sources = {lines: _source(Path(folder), lines) for lines in {way.lines for way in ways}}
        for _ in range(ROUNDS):
            for way in ways:
                speeds[way].append(_speed(way, _place(folder, url, client), sources[way.lines]))
                damages[way].append(_damage(way, _place(folder, url, client), sources[way.lines]))
    missing = () if RSYSLOGD.exists() else (f"rsyslog is not installed ({RSYSLOGD}; Debian's package rsyslog).",)
    yield _speed_table(speeds, missing)
    yield _damage_table(damages, missing)


def _source(folder: Path, lines: int) -> Path:
    """Write the demo's real access log again and again, up to the number of lines."""
    text = gzip.decompress((ROOT / "aggregator" / "demo" / "access.log.gz").read_bytes())
    times, rest = divmod(lines, text.count(b"\n"))
    assert not rest, f"{lines} lines are no whole number of logs"
    path = folder / f"{lines}.log"
    path.write_bytes(text * times)
    return path


def _place(folder: str, url: str, client: Redis) -> Place:
    client.flushall()
    return Place(Path(tempfile.mkdtemp(dir=folder)), url, client)


def _speed(way: Way, place: Place, source: Path) -> Speed:
    """Let a way copy the whole log once."""
    redis = [psutil.Process(place.client.info("server")["process_id"])]
    size = source.stat().st_size
    with ExitStack() as stack:
        processes = way.start(place)
        for process in processes:
            stack.callback(end, process)
        wait_until(lambda: way.is_ready(place), 20, f"{way.title} is ready")
        measured = [psutil.Process(process.pid) for process in processes]
        used, used_by_redis, began = _cpu_s(measured), _cpu_s(redis), time.perf_counter()
        os.link(source, place.folder / "input.log")
        wait_until(lambda: all(each >= size for each in _sizes(place)), DEADLINE_S, f"{way.title} has copied all lines")
        seconds = time.perf_counter() - began
        used, used_by_redis = _cpu_s(measured) - used, _cpu_s(redis) - used_by_redis
    assert _compare(place, source) == Damage(0, 0), f"{way.title} copied other lines"
    millions = way.lines / 1e6
    return Speed(way.lines / seconds, used / millions, used_by_redis / millions)


def _damage(way: Way, place: Place, source: Path) -> Damage:
    """Kill all of a way's processes halfway, start them again, and return the damage."""
    half = source.stat().st_size // 2
    with ExitStack() as stack:
        processes = way.start(place)
        for process in processes:
            stack.callback(end, process)
        wait_until(lambda: way.is_ready(place), 20, f"{way.title} is ready")
        os.link(source, place.folder / "input.log")
        wait_until(lambda: max(_sizes(place)) >= half, DEADLINE_S, f"{way.title} has copied half of the lines")
        for process in processes:
            end(process)
        for process in way.start(place):
            stack.callback(end, process)
        _wait_until_quiet(place)
    return _compare(place, source)


def _sizes(place: Place) -> list[int]:
    paths = [place.folder / name for name in OUTPUTS]
    return [path.stat().st_size if path.exists() else 0 for path in paths]


def _wait_until_quiet(place: Place) -> None:
    last, since = _sizes(place), time.monotonic()

    def is_quiet() -> bool:
        nonlocal last, since
        sizes = _sizes(place)
        if sizes != last:
            last, since = sizes, time.monotonic()
        return time.monotonic() - since > QUIET_S

    wait_until(is_quiet, DEADLINE_S, "the files do not grow any more")


def _compare(place: Place, source: Path) -> Damage:
    want = Counter(source.read_bytes().splitlines())
    lost = doubled = 0
    for name in OUTPUTS:
        have = Counter((place.folder / name).read_bytes().splitlines())
        lost += (want - have).total()
        doubled += (have - want).total()
    return Damage(lost, doubled)


def _cpu_s(processes: list[psutil.Process]) -> float:
    """Return the processor time used so far, in seconds."""
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def _speed_table(speeds: dict[Way, list[Speed]], notes: tuple[str, ...]) -> Table:
    ours = median([speed.lines_s for speed in speeds[OURS]])
    rows: list[tuple[Any, ...]] = []
    for way, found in speeds.items():
        lines_s, processes_s, redis_s = (median(values) for values in zip(*found, strict=True))
        rows.append((way.title, way.lines, lines_s, ours / lines_s, processes_s, redis_s))
    return Table(
        "From one file through a copier into two files, line by line",
        ("way", "lines", "lines/s", "ours/its", "CPU s a million lines", "Redis' CPU s"),
        rows,
        (f"Medians of {ROUNDS} rounds. Real lines of 232 bytes on average; four processes, rsyslog: one.", *notes),
    )


def _damage_table(damages: dict[Way, list[Damage]], notes: tuple[str, ...]) -> Table:
    rows: list[tuple[Any, ...]] = []
    for way, found in damages.items():
        lost, doubled = (", ".join(f"{value:,}" for value in values) for values in zip(*found, strict=True))
        rows.append((way.title, 2 * way.lines, lost, doubled))
    return Table(
        "The same, with all of its processes killed halfway (SIGKILL) and started again",
        ("way", "lines to write", "lost", "doubled or torn"),
        rows,
        ("Each round by itself. Redis lives on; tests/crash kills it as well.", *notes),
    )
