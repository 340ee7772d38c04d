"""Time and memory to bundle an hour of up to 1 GB, to store it, and to merge it with an hour that shares half."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from redis.client import Redis

from aggregator.feeds.bundle.bundles import read_bundle
from aggregator.feeds.bundle.manifest import Tick
from aggregator.feeds.messages.ticks import Filtered
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.publications import Publication
from aggregator.runtime.kinds import encode
from benchmarks.captures import load_captures, stamped
from benchmarks.feedinstance import NODE, configure, cost_of, is_idle, queue_key
from benchmarks.instance import start_worker
from benchmarks.report import Table
from benchmarks.rig import end, fill, private_redis
from tests.servers import wait_until

FEED = "nyct"
HOUR = 1_793_534_400
JOINED = 4
"""Captures joined into one publication: each second has one publication, and one capture of 130 KB is not enough."""
SIZES = {"100 MB": 195, "1 GB": 1_950}
"""Size of the hour → number of publications in it."""
DEADLINE_S = 60.0


class Step(NamedTuple):
    """One step of one stage."""

    title: str
    seconds: float
    cpu_s: float
    peak_mib: float


def run() -> Iterator[Table]:
    """Measure each size once."""
    rows: list[tuple[Any, ...]] = []
    for title, count in SIZES.items():
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, private_redis() as (url, client):
            configure(Path(folder), url, [], period="14s", grace="0s")
            size_mb, steps, stored_mb = _hour(Path(folder), client, count)
        rows += [(f"{title}: {step.title}", *step[1:], size_mb / step.seconds) for step in steps]
        rows[-1] = (*rows[-1][:-1], size_mb * 1.5 / rows[-1][1])
        note = f"In the store in the end: {stored_mb:.1f} MB; the captures are 12 that come again with other clocks."
    yield Table(
        "A bundle of one hour, through `compress` and `archive` to a folder",
        ("step", "seconds", "CPU s", "most RAM, MiB", "MB/s"),
        rows,
        ("Each step in a new process, once. Downloads of 520 KB; MB/s are of publications, unpacked.", note),
    )


def _hour(root: Path, client: Redis, count: int) -> tuple[float, list[Step], float]:
    """Bundle and store an hour; then do the same with its second half and as many new publications."""
    size_mb = _publish(root, client, range(count)) / 1e6
    steps = [_step(root, client, "worker_compress", "compress"), _step(root, client, "worker_archive", "archive")]
    _publish(root, client, range(count // 2, count // 2 + count))
    steps += [
        _step(root, client, "worker_compress", "compress"),
        _step(root, client, "worker_archive", "archive, merge"),
    ]
    (path,) = (root / "store").rglob("*.tar.zst")
    with path.open("rb") as file:
        found = len(read_bundle(file).publications)
    assert found == count + count // 2, f"{found} publications in the store"
    return size_mb, [steps[0], steps[1], steps[3]], path.stat().st_size / 1e6


def _publish(root: Path, client: Redis, numbers: range) -> int:
    """Write publications as `filter` does, and push the messages of `filter`; return the publications' bytes."""
    folders, captures = FeedFolders(root / "data/feeds"), load_captures()
    messages, size = [], 0
    for number in numbers:
        second = HOUR + number
        body = b"".join(stamped(captures[(number + i) % len(captures)], second) for i in range(JOINED))
        publication = Publication(FEED, second, "pb")
        path = folders.publication(publication, 3600)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        tick = Tick(
            planned_ms=second * 1000, outcome="ok", size_bytes=len(body),
            sha256=hashlib.sha256(body).hexdigest(), header_ms=second * 1000,
        )  # fmt: skip
        told = Filtered(
            feed=FEED, tick=tick, publication=path.name, published_ms=second * 1000, url="", period_ms=1000, node=NODE
        )
        messages.append(encode(told))
        size += len(body)
    fill(client, f"published@{NODE}", messages)
    return size


def _step(root: Path, client: Redis, section: str, title: str) -> Step:
    """Run the worker of a section until it has nothing left to do; return the cost of this step."""
    with ExitStack() as stack:
        began = time.perf_counter()
        worker = start_worker(root, section)
        stack.callback(end, worker)
        if section == "worker_compress":
            wait_until(lambda: client.llen(queue_key("bundled")) == 1, DEADLINE_S, "the bundle is made")
        wait_until(lambda: is_idle(client, section, worker), DEADLINE_S, f"{section} has done all")
        seconds = time.perf_counter() - began
        return Step(title, seconds, *cost_of(worker))
