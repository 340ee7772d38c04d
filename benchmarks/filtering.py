"""How many downloads `filter` names in a second, compared with a loop that parses a timestamp and renames."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from google.transit import gtfs_realtime_pb2
from redis.client import Redis

from aggregator.feeds.bundle.manifest import Tick
from aggregator.feeds.messages.ticks import Downloaded
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.publications import Publication
from aggregator.feeds.naming.stamps import bundle_start, write_stamp
from aggregator.runtime.kinds import encode
from benchmarks.captures import load_captures, stamped
from benchmarks.feedinstance import NODE, configure, cost_of, is_idle, wait_for
from benchmarks.instance import start_worker
from benchmarks.report import Table, median
from benchmarks.rig import end, fill, private_redis
from tests.servers import wait_until

FEEDS, EACH = 50, 40
FILES = FEEDS * EACH
ROUNDS = 5
BEGAN = 1_793_534_400
"""The time of the first publication in Unix seconds."""


def run() -> Iterator[Table]:
    """Measure; the ways take turns."""
    ours, used, old, old_used = [], [], [], []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, private_redis() as (url, client):
        source = Path(folder) / "source"
        messages = _download(source)
        for number in range(ROUNDS):
            client.flushall()
            seconds, cpu_s, peak_mib = _filter(_copy(source, Path(folder) / f"ours{number}"), url, client, messages)
            ours.append(FILES / seconds)
            used.append(cpu_s)
            began, began_cpu = time.perf_counter(), time.process_time()
            _old_filter(_copy(source, Path(folder) / f"old{number}"))
            old.append(FILES / (time.perf_counter() - began))
            old_used.append(time.process_time() - began_cpu)
    rows: list[tuple[Any, ...]] = [
        ("filter stage", median(ours), min(ours), max(ours), median(ours) / median(old), median(used)),
        ("parse, rename", median(old), min(old), max(old), 1.0, median(old_used)),
    ]
    yield Table(
        f"{FILES:,} downloads of about 130 KB, of {FEEDS} feeds, named by their timestamps; one process",
        ("way", "files/s", "worst", "best", "its/old", "CPU s"),
        rows,
        (
            f"Medians of {ROUNDS} rounds. Ours compares hashes, hashes the entities, syncs and commits; the old way",
            f"parses each body with gtfs-realtime-bindings and syncs nothing. Ours took at most {peak_mib:.0f} MiB.",
        ),
    )


def _download(root: Path) -> list[bytes]:
    """Write the files that `download` would have written, and return the messages that it would have sent."""
    folders = FeedFolders(root / "data/feeds")
    captures, messages = load_captures(), []
    for number in range(FILES):
        feed, second = f"feed-{number % FEEDS:02d}", BEGAN + number // FEEDS * 14
        body = stamped(captures[number // FEEDS % len(captures)], second)
        at_ms, sha256 = second * 1000, hashlib.sha256(body).hexdigest()
        path = folders.download(feed, at_ms, "pb")
        path = path.with_name(f"{path.name.removesuffix('.pb')}-{sha256[:8]}.pb")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        tick = Tick(
            planned_ms=at_ms, started_ms=at_ms, ended_ms=at_ms, outcome="ok", status=200,
            size_bytes=len(body), wire_bytes=len(body), sha256=sha256,
        )  # fmt: skip
        told = Downloaded(
            feed=feed, url="http://127.0.0.1/", period_ms=14_000, extension="pb", timestamp="gtfs-realtime",
            format="gtfs-realtime", tick=tick, file=str(path.relative_to(root)),
        )  # fmt: skip
        messages.append(encode(told))
    return messages


def _copy(source: Path, root: Path) -> Path:
    """Return an instance's folder with hard links to the same downloads, once all earlier writes are on disk."""
    for path in source.rglob("*.pb"):
        target = root / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)
    os.sync()
    return root


def _filter(root: Path, url: str, client: Redis, messages: list[bytes]) -> tuple[float, float, float]:
    """Return the seconds from the first message to the last result, the CPU seconds, and the most memory."""
    configure(root, url, [(f"feed-{n:02d}", "http://127.0.0.1:9/") for n in range(FEEDS)], period="14s")
    with ExitStack() as stack:
        worker = start_worker(root, "worker_filter")
        stack.callback(end, worker)
        wait_until(lambda: is_idle(client, "worker_filter", worker), 20, "the worker is idle")
        before = cost_of(worker).cpu_s
        began = time.perf_counter()
        fill(client, f"fetched@{NODE}", messages)
        seconds = wait_for(client, "published", FILES) - began
        cost = cost_of(worker)
    found = sum(1 for _ in (root / "data/feeds/publications").rglob("*.pb"))
    assert found == FILES, f"{found} of {FILES} publications"
    return seconds, cost.cpu_s - before, cost.peak_mib


def _old_filter(root: Path) -> None:
    """Name each file by the timestamp in it."""
    folders = FeedFolders(root / "data/feeds")
    message = gtfs_realtime_pb2.FeedMessage()
    for folder in folders.downloads.iterdir():
        for path in folder.iterdir():
            message.ParseFromString(path.read_bytes())
            second = message.header.timestamp
            target = folders.publications / folder.name / write_stamp(bundle_start(second, 3600))
            target.mkdir(parents=True, exist_ok=True)
            path.rename(target / Publication(folder.name, second, "pb").file_name)
