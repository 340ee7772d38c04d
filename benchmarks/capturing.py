"""From a stream of events to files on the disk: how fast, how soon, and through an outage of Redis.

As a program it is a way of others: `python -m benchmarks.capturing bare|bare-9|twarc KIND URL TOTAL FILE`.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import urlsplit

import msgspec
import psutil
from redis.client import Redis

from aggregator.config.loading import load
from aggregator.supervision import build
from benchmarks.eventserver import SIZE_BYTES
from benchmarks.instance import start_worker
from benchmarks.report import Table, median
from benchmarks.rig import KEYS, NAMESPACE, ask, end, private_redis, start
from tests.servers import wait_until

ROUNDS = 5
TOTAL = 100_000
SLOW_TOTAL, SLOW_RATE = 20_000, 1_000
KINDS = ("sse", "ndjson", "websocket")
DEADLINE_S = 120.0
AWAY_S, AWAY_RATE = 60.0, 20_000
WATCHED_S = 60.0

_CONFIG = """\
[redis]
url = {url}
namespace = {namespace}

[aggregator]
node = bench

[stream_s]
type = {kind}
url = {address}
pushto = events
spool_size = 8GB

[worker_record]
stage = record
listento = events
save_interval = 24h
save_size = 8GB
"""


class Speed(NamedTuple):
    """The result of one run; processor seconds are for a million events."""

    events_s: float
    capture_s: float
    record_s: float = 0.0
    redis_s: float = 0.0


def run() -> Iterator[Table]:
    """Measure; the ways take turns, each with processes of its own, on the same server."""
    with event_server() as address, private_redis() as (url, client):
        yield from _speeds(address, url, client)
        yield _soonness(address, url, client)
        yield _idle(address, url, client)
        yield _outage(address, url, client)


@contextmanager
def event_server() -> Iterator[str]:
    """Run the server of events; yield its address."""
    process = start("benchmarks.eventserver", stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        end(process)
        process.stdout.close()


def _speeds(address: str, url: str, client: Redis) -> Iterator[Table]:
    found: dict[tuple[str, str], list[Speed]] = {}
    for _ in range(ROUNDS):
        for kind in KINDS:
            found.setdefault((kind, "capture and record"), []).append(_ours(kind, address, url, client))
            for way in ("bare", "bare-9", "twarc") if kind == "ndjson" else ("bare",):
                found.setdefault((kind, way), []).append(_other(way, kind, address))
    rows: list[tuple[Any, ...]] = []
    for (kind, way), speeds in found.items():
        medians = [median(values) for values in zip(*speeds, strict=True)]
        ours = median([speed.events_s for speed in found[kind, "capture and record"]])
        rows.append((f"{kind}, {way}", medians[0], ours / medians[0], *medians[1:]))
    yield Table(
        f"{TOTAL:,} events of {SIZE_BYTES} bytes from a server on this machine to a gzip file",
        ("way", "events/s", "ours/its", "CPU s a million", "record's", "Redis'"),
        rows,
        (
            f"Medians of {ROUNDS} rounds. Ours: two processes and Redis, every event once whatever is killed, synced.",
            "bare: reads the socket and appends to a gzip file, level 6 as ours, and keeps nothing safe; bare-9: with",
            "the level that gzip.open has by itself. twarc: its"
            " loop (requests, iter_lines, json.loads, json.dumps into a plain file). The server shares the machine.",
        ),
    )


class Pipeline(NamedTuple):
    """A capture and a record at work, and where their files are."""

    capture: subprocess.Popen[str]
    record: subprocess.Popen[str]
    folder: Path


@contextmanager
def _pipeline(kind: str, address: str, url: str, client: Redis) -> Iterator[Pipeline]:
    client.flushall()
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as folder, ExitStack() as stack:
        file = Path(folder) / "loglines.cfg"
        file.write_text(_CONFIG.format(url=url, namespace=NAMESPACE, kind=kind, address=address))
        build(load(file, Path(folder)))
        processes = []
        for section in ("worker_record", "stream_s"):
            processes.append(start_worker(Path(folder), section))
            stack.callback(end, processes[-1])
        yield Pipeline(processes[1], processes[0], Path(folder))


def _ours(kind: str, address: str, url: str, client: Redis) -> Speed:
    """Let a capture and a record write all events once."""
    redis = psutil.Process(client.info("server")["process_id"])
    used_by_redis = _cpu_s(redis)
    with _pipeline(kind, f"{address}/{kind}?total={TOTAL}", url, client) as pipeline:
        wait_until(lambda: _recorded(client) > 0, DEADLINE_S, "the first event is recorded")
        began = time.perf_counter() - _age_s(pipeline.folder)
        wait_until(lambda: _recorded(client) >= TOTAL, DEADLINE_S, "all events are recorded")
        seconds = time.perf_counter() - began
        used = [_cpu_s(psutil.Process(process.pid)) for process in (pipeline.capture, pipeline.record)]
        used_by_redis = _cpu_s(redis) - used_by_redis
        _assert_once(pipeline.folder, TOTAL)
    millions = TOTAL / 1e6
    return Speed(TOTAL / seconds, used[0] / millions, used[1] / millions, used_by_redis / millions)


def _other(way: str, kind: str, address: str) -> Speed:
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as folder:
        # one more than is waited for: requests gives a line out only when something follows
        target = f"{address}/{kind}?total={TOTAL + 1}"
        answer = ask("benchmarks.capturing", way, kind, target, TOTAL, f"{folder}/events", deadline_s=DEADLINE_S)
    return Speed(TOTAL / answer["seconds"], answer["cpu"] / TOTAL * 1e6)


def _recorded(client: Redis) -> int:
    """Return how many events are committed into the file."""
    return int(_facts(client).get("count", 0))


def _facts(client: Redis) -> dict[str, Any]:
    found = client.hget(KEYS.cursors("bench:worker_record"), "file:s")
    return dict(json.loads(found)["facts"]) if found else {}


def _recorded_events(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((folder / "data/streams/s").rglob("*.jsonl.gz")):
        with gzip.open(path) as lines:
            for line in lines:
                yield msgspec.json.decode(line)


def _age_s(folder: Path) -> float:
    """Return how long ago the server sent the first event."""
    return time.time() - next(_recorded_events(folder))["at"]


def _assert_once(folder: Path, total: int) -> None:
    numbers = [event["n"] for event in _recorded_events(folder)]
    assert numbers == list(range(total)), f"{len(numbers)} events, {len(set(numbers))} of {total} different ones"


def _soonness(address: str, url: str, client: Redis) -> Table:
    """Take events from the queue that nobody else reads, and compare with the moments they were sent."""
    target = f"{address}/ndjson?total={SLOW_TOTAL}&rate={SLOW_RATE}"
    with _pipeline("ndjson", target, url, client) as pipeline:
        end(pipeline.record)
        delays = []
        while len(delays) < SLOW_TOTAL:
            taken = client.blpop([KEYS.queue("events")], timeout=10)
            assert taken, "no event came"
            now, message = time.time(), json.loads(taken[1])
            if message["kind"] == "event":
                delays.append((now - message["event"]["at"]) * 1000)
        # without the first second, in which the worker itself starts
        del delays[:SLOW_RATE]
    delays.sort()
    columns = ("50 %", "90 %", "99 %", "99.9 %", "worst")
    places = (0.5, 0.9, 0.99, 0.999, 1 - 1 / len(delays))
    return Table(
        f"From the server's socket into the queue, at {SLOW_RATE:,} events a second, in ms",
        ("", *columns),
        [("ndjson", *(delays[int(place * len(delays))] for place in places))],
        ("Without the first second. The queue is read by BLPOP, an event at a time; that is in these figures.",),
    )


def _idle(address: str, url: str, client: Redis) -> Table:
    """Watch captures and a record while no events come."""
    rows: list[tuple[Any, ...]] = []
    for kind in KINDS:
        with _pipeline(kind, f"{address}/{kind}?total=1", url, client) as pipeline:
            wait_until(lambda: _recorded(client) == 1, DEADLINE_S, "the event is recorded")
            watched = {f"stream, {kind}": pipeline.capture, "record": pipeline.record}
            found = {title: psutil.Process(process.pid) for title, process in watched.items()}
            before = {title: _cpu_s(process) for title, process in found.items()}
            time.sleep(WATCHED_S / len(KINDS))
            for title, process in found.items():
                memory = process.memory_full_info()
                used = (_cpu_s(process) - before[title]) * len(KINDS) / WATCHED_S * 60
                rows.append((title, memory.rss / 2**20, memory.pss / 2**20, used))
    return Table("Processes of streams that have nothing to do", ("", "RSS MiB", "PSS MiB", "CPU s a minute"), rows)


def _outage(address: str, url: str, client: Redis) -> Table:
    """Stop Redis while events come, and return how long everything takes to be recorded after that."""
    total = int(AWAY_RATE * (AWAY_S + 30))
    redis = client.info("server")["process_id"]
    with _pipeline("ndjson", f"{address}/ndjson?total={total}&rate={AWAY_RATE}", url, client) as pipeline:
        wait_until(lambda: _recorded(client) > AWAY_RATE, DEADLINE_S, "events are recorded")
        os.kill(redis, signal.SIGSTOP)
        try:
            time.sleep(AWAY_S)
            spool = sum(path.stat().st_size for path in pipeline.folder.glob("data/streams/.s.journal/*.journal"))
        finally:
            os.kill(redis, signal.SIGCONT)
        began, had = time.perf_counter(), 0

        def is_flowing() -> bool:
            nonlocal had
            had = had or _recorded(client)
            return _recorded(client) > had

        wait_until(is_flowing, DEADLINE_S, "events are recorded again")
        flowing = time.perf_counter() - began
        wait_until(lambda: _recorded(client) >= total, 600, "all events are recorded")
        caught_up = time.perf_counter() - began
        _assert_once(pipeline.folder, total)
        assert not (pipeline.folder / "data/streams/s/s.gaps.jsonl").exists(), "there is a gap"
    return Table(
        f"Redis away for {AWAY_S:.0f} s, at {AWAY_RATE:,} events/s",
        ("spool MB", "flowing again, s", "all recorded, s", "lost", "doubled"),
        [(f"{spool / 1e6:.0f}", flowing, caught_up, 0, 0)],
        (f"Events went on for half a minute; compared: {total:,} events, each was there once, in order.",),
    )


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def bare(kind: str, url: str, total: int, file: str, level: int = 6) -> None:
    """Read the socket event by event, and append each to a gzip file, packed as hard as our own files are."""
    address = urlsplit(url)
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nUpgrade: websocket\r\n" if kind == "websocket" else ""
    with socket.create_connection((address.hostname, address.port)) as sock, gzip.open(file, "wb", level) as out:
        sock.sendall(f"GET {address.path}?{address.query} HTTP/1.1\r\nHost: bench\r\n{key}\r\n".encode())
        answer = sock.makefile("rb", buffering=1 << 18)
        while answer.readline() != b"\r\n":
            pass
        for event in itertools.islice(_EVENTS[kind](answer), total):
            out.write(event + b"\n")


def bare_9(kind: str, url: str, total: int, file: str) -> None:
    """Do the same with what `gzip.open` does when nothing is said."""
    bare(kind, url, total, file, 9)


def _events_of_sse(answer: BinaryIO) -> Iterator[bytes]:
    return (line[6:-1] for line in answer if line.startswith(b"data: "))


def _events_of_ndjson(answer: BinaryIO) -> Iterator[bytes]:
    return (line[:-1] for line in answer)


def _events_of_websocket(answer: BinaryIO) -> Iterator[bytes]:
    while head := answer.read(4):
        yield answer.read(int.from_bytes(head[2:], "big"))


_EVENTS = {"sse": _events_of_sse, "ndjson": _events_of_ndjson, "websocket": _events_of_websocket}


def twarc(kind: str, url: str, total: int, file: str) -> None:
    """Read as twarc 2.14 does: requests, lines in pieces of 512 bytes, decoded and encoded, into a plain file."""
    import requests

    with requests.get(url, stream=True, timeout=60) as answer, open(file, "w") as out:
        for count, line in enumerate(answer.iter_lines(chunk_size=512), 1):
            print(json.dumps(json.loads(line.decode())), file=out)
            if count == total:
                return


def main(way: str, kind: str, url: str, total: str, file: str) -> None:
    """Run one way, and print its seconds as JSON."""
    began, cpu = time.perf_counter(), time.process_time()
    {"bare": bare, "bare-9": bare_9, "twarc": twarc}[way](kind, url, int(total), file)
    print(json.dumps({"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main(*sys.argv[1:])
