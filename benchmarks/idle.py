"""The cost of a worker while no messages come, and the time from its start to its first handled message."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from redis.client import Redis

from benchmarks.instance import configure, start_worker
from benchmarks.report import Table, median
from benchmarks.rig import KEYS, ROOT, end, fill, private_redis, spawn
from tests.servers import wait_until

ROUNDS = 5
WATCHED_S = 60.0
DEADLINE_S = 20

LINE = b'192.0.2.1 - - [01/Nov/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "-"'
MESSAGE = b'{"service":"bench","logline":"%s"}' % LINE.replace(b'"', b'\\"')

_OPENURL = """
[worker_openurl]
stage = openurl
listento = downloads
repository_plugin = plugins.accesslog
endpoint_url = http://127.0.0.1:9/
other_queue = rest

[accesslog]
pattern = /articles/(?P<id>[0-9]+)
identifier = oai:example.org:{id}
"""
_BARE = """
import sys, redis
client, (taken, given) = redis.Redis.from_url(sys.argv[1]), sys.argv[2:]
while True:
    found = client.blpop([taken], timeout=1)
    if found:
        client.rpush(given, found[1])
"""


class Place(NamedTuple):
    """An instance's folder, and its Redis."""

    folder: Path
    url: str
    client: Redis


class Case(NamedTuple):
    """A worker: how to start it, and the queues of its first message; None stands for a file instead of a queue."""

    title: str
    start: Callable[[Place], subprocess.Popen[str]]
    taken: str | None
    given: str | None


def _bare(place: Place) -> subprocess.Popen[str]:
    return spawn([sys.executable, "-c", _BARE, place.url, KEYS.queue("work"), KEYS.queue("done")])


def _worker(section: str) -> Callable[[Place], subprocess.Popen[str]]:
    return lambda place: start_worker(place.folder, section)


CASES = (
    Case("bare redis-py loop", _bare, "work", "done"),
    Case("tail", _worker("logger_tail"), None, "lines"),
    Case("broker", _worker("worker_broker"), "lines", "first"),
    Case("openurl, 8 threads", _worker("worker_openurl"), "downloads", "rest"),
    Case("logfile", _worker("logger_first"), "first", None),
)


def run() -> Iterator[Table]:
    """Measure."""
    times: dict[Case, list[float]] = {case: [] for case in CASES}
    with private_redis() as (url, client):
        for _ in range(ROUNDS):
            for case in CASES:
                with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                    times[case].append(_first(case, _place(folder, url, client)))
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            costs = _costs(_place(folder, url, client))
    rows: list[tuple[Any, ...]] = [(case.title, *costs[case], median(times[case])) for case in CASES]
    yield Table(
        "Workers that have nothing to do, and how soon a new one has handled a message that waits for it",
        ("worker", "RSS MiB", "PSS MiB", "CPU s a minute", "exec to first message, s"),
        rows,
        (
            f"Watched for {WATCHED_S:.0f} s, all side by side: PSS shares out what they have in common.",
            f"Times are medians of {ROUNDS} rounds.",
        ),
    )


def _place(folder: str, url: str, client: Redis) -> Place:
    client.flushall()
    place = Place(Path(folder), url, client)
    configure(place.folder, url, _OPENURL)
    shutil.copytree(ROOT / "plugins", place.folder / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    return place


def _first(case: Case, place: Place) -> float:
    """Return the seconds from the start of a worker until its first message is handled."""
    _give(case, place)
    with ExitStack() as stack:
        began = time.perf_counter()
        stack.callback(end, case.start(place))
        if case.given is None:
            written = place.folder / "first.log"
            wait_until(lambda: written.exists() and written.stat().st_size, DEADLINE_S, f"{case.title} has written")
        else:
            assert place.client.blpop([KEYS.queue(case.given)], timeout=DEADLINE_S), f"{case.title} gave nothing"
        return time.perf_counter() - began


def _costs(place: Place) -> dict[Case, tuple[float, float, float]]:
    """Return RSS, PSS and processor seconds a minute of every worker, once each has handled a message."""
    found = {}
    with ExitStack() as stack:
        processes = {}
        for case in CASES:
            _give(case, place)
            processes[case] = psutil.Process((process := case.start(place)).pid)
            stack.callback(end, process)
        wait_until(lambda: _is_idle(place), DEADLINE_S, "every worker is idle")
        before = {case: _cpu_s(process) for case, process in processes.items()}
        began = time.monotonic()
        time.sleep(WATCHED_S)
        minutes = (time.monotonic() - began) / 60
        for case, process in processes.items():
            used, memory = _cpu_s(process) - before[case], process.memory_full_info()
            found[case] = memory.rss / 2**20, memory.pss / 2**20, used / minutes
    return found


def _give(case: Case, place: Place) -> None:
    if case.taken is None:
        (place.folder / "input.log").write_bytes(LINE + b"\n")
    else:
        fill(place.client, case.taken, [MESSAGE])


def _is_idle(place: Place) -> bool:
    """True when all our workers say that they are idle, and the bare loop has passed its message on."""
    states = [place.client.hget(key, "state") for key in place.client.scan_iter(KEYS.worker("*"))]
    return states == [b"idle"] * (len(CASES) - 1) and bool(place.client.llen(KEYS.queue("done")))


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
