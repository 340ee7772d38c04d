"""The time to download 200 feeds that are due at once, 50 ms away, compared with one download after the other."""

from __future__ import annotations

import hashlib
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
from redis.client import Redis

from aggregator.feeds.messages.ticks import Downloaded, DueTick
from aggregator.runtime.kinds import encode
from benchmarks.feedinstance import NODE, configure, cost_of, feed_server, is_idle, queue_key, wait_for
from benchmarks.instance import start_worker
from benchmarks.report import Table, median
from benchmarks.rig import end, fill, private_redis
from tests.servers import wait_until

FEEDS = 200
LATENCY_S = 0.05
ROUNDS = 9
OLD_ROUNDS = 2


def run() -> Iterator[Table]:
    """Measure our cycles, and then the cycles of the old way."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        private_redis() as (url, client),
        feed_server("--latency", LATENCY_S) as (address, server),
        ExitStack() as stack,
    ):
        feeds = [(f"feed-{number:03d}", f"{address}/feed/{number}") for number in range(FEEDS)]
        # a period of an hour, so that only the ticks that are pushed here are due
        configure(Path(folder), url, feeds, period="1h")
        worker = start_worker(Path(folder), "worker_download")
        stack.callback(end, worker)
        wait_until(lambda: client.llen(queue_key("fetched")) == FEEDS, 30, "every feed had its first download")
        wait_until(lambda: is_idle(client, "worker_download", worker), 10, "the worker is idle")
        before, before_server = cost_of(worker), cost_of(server)
        ours = [_cycle(client, [name for name, _ in feeds]) for _ in range(ROUNDS)]
        used_s = (cost_of(worker).cpu_s - before.cpu_s) / ROUNDS
        used_by_server_s = (cost_of(server).cpu_s - before_server.cpu_s) / ROUNDS
        peak_mib = cost_of(worker).peak_mib
        old = [_old_cycle(Path(folder) / f"old{i}", [url for _, url in feeds]) for i in range(OLD_ROUNDS)]
    yield Table(
        f"{FEEDS} feeds of about 130 KB that are due at once, {LATENCY_S * 1000:.0f} ms away",
        ("way", "cycle s", "best", "worst", "feeds/s", "old/its"),
        [_row("download stage", ours, old), _row("urllib, one by one", old, old)],
        (
            f"Medians of {ROUNDS} and {OLD_ROUNDS} rounds. Ours includes a hash and two syncs a file, and the commits.",
            f"CPU s a cycle: {used_s:.2f}, of the server {used_by_server_s:.2f}. RAM: at most {peak_mib:.0f} MiB.",
        ),
    )


def _row(title: str, ours: list[float], old: list[float]) -> tuple[Any, ...]:
    return title, median(ours), min(ours), max(ours), FEEDS / median(ours), median(old) / median(ours)


def _cycle(client: Redis, names: list[str]) -> float:
    """Make all feeds due at once; return the seconds until the last download is on the disk and handed on."""
    client.delete(queue_key("fetched"))
    began = time.perf_counter()
    now = int(time.time() * 1000)
    # a younger chain supersedes the tick that waits for its hour
    ticks = [DueTick(feed=name, planned_ms=now, chain=now) for name in names]
    fill(client, f"ticks@{NODE}", [encode(tick) for tick in ticks])
    seconds = wait_for(client, "fetched", len(names)) - began
    told = [msgspec.json.decode(raw, type=Downloaded) for raw in client.lrange(queue_key("fetched"), 0, -1)]
    outcomes = [told.tick.outcome if told.tick else "missed" for told in told]
    assert outcomes == ["ok"] * len(names), f"not all came: {sorted(set(outcomes))}"
    return seconds


def _old_cycle(folder: Path, addresses: list[str]) -> float:
    """Download one feed after the other, over a new connection each, into files."""
    folder.mkdir()
    began = time.perf_counter()
    for number, address in enumerate(addresses):
        with urllib.request.urlopen(address) as answer:
            body = answer.read()
        (folder / f"{number}-{hashlib.md5(body).hexdigest()}.pb").write_bytes(body)
    return time.perf_counter() - began
