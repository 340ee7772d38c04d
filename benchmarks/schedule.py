"""500 feeds every 5 s through all four stages: missed ticks, late ticks, cost, and which feeds delay others."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

import psutil
from redis.client import Redis

from aggregator.feeds.bundle.bundles import read_bundle
from aggregator.feeds.bundle.manifest import Tick
from aggregator.feeds.bundle.openperiods import PeriodFolder
from benchmarks.feedinstance import STAGES, Cost, configure, cost_of, feed_server, queue_key
from benchmarks.instance import start_worker
from benchmarks.report import Table
from benchmarks.rig import end, private_redis
from tests.servers import wait_until

FEEDS = 500
PERIOD_S = 5
WARM_S, GOOD_S, SPOILT_S, AWAY_S = 10.0, 25.0, 20.0, 20.0
AWAY_EVERY = 3
"""One of so many feeds is, in the last span, on a server that takes requests and does not answer."""
BAD = ("hung", "dribbling")

Ticks = dict[str, dict[int, Tick]]
"""Feed → planned_ms → tick."""


class Usage(NamedTuple):
    """The use of CPU and memory by one process while it was watched."""

    title: str
    cores: float
    peak_mib: float


def run() -> Iterator[Table]:
    """Measure once, for a little over a minute."""
    began = time.time()
    spoilt_at = began + WARM_S + GOOD_S
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        private_redis() as (url, client),
        feed_server("--spoilt-at", spoilt_at, "--away-at", spoilt_at + SPOILT_S) as (address, server),
        ExitStack() as stack,
    ):
        feeds = [(_name(number), f"{address}/{_kind(number)}/{number}") for number in range(FEEDS)]
        feeds += [(name, f"{address}/{name}") for name in BAD]
        configure(Path(folder), url, feeds, period=f"{PERIOD_S}s", bundle="1m", grace="5s")
        workers = {section: start_worker(Path(folder), section) for section in STAGES}
        for process in workers.values():
            stack.callback(end, process)
        redis = psutil.Process(client.info("server")["process_id"])
        usages = _watch({**workers, "Redis": redis, "(server of the feeds)": server}, began + WARM_S)
        waiting = _drain(client, workers)
        ticks = _recorded(Path(folder))
        stored = sum(1 for _ in (Path(folder) / "store").rglob("*.tar.zst"))
    yield _tick_table(ticks, began, spoilt_at, waiting)
    yield Table(
        "What that takes",
        ("process", "CPU cores", "most RAM, MiB"),
        [tuple(usage) for usage in usages],
        (f"Bundles of a minute, not of an hour: {stored} are in the store.",),
    )


def _kind(number: int) -> str:
    return "feed" if number % AWAY_EVERY else "away"


def _name(number: int) -> str:
    return f"{_kind(number)}-{number:03d}"


def _watch(processes: dict[str, Any], warm_at: float) -> list[Usage]:
    """Let the processes work, and return their usage without the start."""
    time.sleep(max(warm_at - time.time(), 0))
    before, began = {title: cost_of(process) for title, process in processes.items()}, time.monotonic()
    time.sleep(GOOD_S + SPOILT_S + AWAY_S)
    seconds = time.monotonic() - began
    after: dict[str, Cost] = {title: cost_of(process) for title, process in processes.items()}
    return [Usage(title, (cost.cpu_s - before[title].cpu_s) / seconds, cost.peak_mib) for title, cost in after.items()]


def _drain(client: Redis, workers: dict[str, subprocess.Popen[str]]) -> dict[str, int]:
    """Stop downloading, and let the later stages finish; return how many messages waited for them when this began."""
    waiting = {queue: int(client.llen(queue_key(queue))) for queue in ("fetched", "published", "bundled")}
    download, filter_, compress, archive = workers.values()
    download.terminate()
    download.wait(20)
    for queue, worker in (("fetched", filter_), ("published", compress), ("bundled", archive)):
        key = queue_key(queue)
        wait_until(lambda key=key: not client.llen(key), 30, f"{queue} is empty")  # type: ignore[misc]
        worker.terminate()
        worker.wait(20)
    return waiting


def _recorded(folder: Path) -> Ticks:
    """Return every recorded tick: in bundles in the store or on their way, and in periods that are still open."""
    found: Ticks = {}
    for path in [*(folder / "store").rglob("*.tar.zst"), *(folder / "data/feeds/bundles").rglob("*.tar.zst")]:
        with path.open("rb") as file:
            for manifest in read_bundle(file).manifests:
                found.setdefault(manifest.header.feed, {}).update((tick.planned_ms, tick) for tick in manifest.ticks)
    for path in (folder / "data/feeds/publications").glob("*/*"):
        period = PeriodFolder(path)
        for record in period.records(period.bundled(revision=1 << 62)[1]):
            found.setdefault(path.parent.name, {}).update((tick.planned_ms, tick) for tick in record.ticks())
    return found


def _tick_table(ticks: Ticks, began: float, spoilt_at: float, waiting: dict[str, int]) -> Table:
    good = {feed: found for feed, found in ticks.items() if feed not in BAD}
    warm_at = began + WARM_S
    every = [(feed, tick) for feed, found in good.items() for tick in found.values()]
    away_at = spoilt_at + SPOILT_S
    spans = {
        f"the first {WARM_S:.0f} s": (0.0, warm_at),
        "all answer": (warm_at, spoilt_at),
        "one hung, one dribbling": (spoilt_at, away_at),
        "and a third away: the others": (away_at, 1e12),
    }
    rows = [
        (
            title,
            *_figures(
                [
                    tick
                    for feed, tick in every
                    if first <= tick.planned_ms / 1000 < last and (first < away_at or feed[:4] != "away")
                ]
            ),
        )
        for title, (first, last) in spans.items()
    ]
    unrecorded = sum(_unrecorded(list(found)) for found in good.values())
    gone = Counter(tick.outcome for feed, tick in every if feed[:4] == "away" and tick.planned_ms / 1000 >= away_at)
    bad = Counter(tick.outcome for feed in BAD for at, tick in ticks[feed].items() if at / 1000 >= spoilt_at)
    behind = ", ".join(f"{queue} {count}" for queue, count in waiting.items())
    return Table(
        f"{FEEDS} feeds of about 130 KB every {PERIOD_S} s, each time a new publication, through four stages",
        ("while", "ticks", "missed or late", "failed", "same", "late ms p50", "p99", "worst", "took ms p50", "p99"),
        rows,
        (
            f"Outcomes of the two that went bad, afterwards: {dict(bad)}; of those away: {dict(gone)}.",
            f"Ticks without a record: {unrecorded}. {len(good)} of {FEEDS} feeds have ticks.",
            f"Messages that waited at the end: {behind}.",
            "Late is from when a tick was planned to its download's start, as manifests have it.",
        ),
    )


def _figures(ticks: list[Tick]) -> tuple[Any, ...]:
    """Return the columns of a span: counts, then milliseconds."""
    outcomes = Counter(tick.outcome for tick in ticks)
    late = [tick.started_ms - tick.planned_ms for tick in ticks if tick.started_ms is not None]
    took = [
        tick.ended_ms - tick.started_ms for tick in ticks if tick.started_ms is not None and tick.ended_ms is not None
    ]
    given_up = outcomes["missed"] + outcomes["late"]
    failed = outcomes["failed"] + outcomes["invalid"]
    times = _rank(late, 50), _rank(late, 99), max(late), _rank(took, 50), _rank(took, 99)
    return len(ticks), given_up, failed, outcomes["same"], *times


def _unrecorded(planned: list[int]) -> int:
    """Return how many ticks of a feed are lacking between its first and its last."""
    return sum(max((later - earlier) // (PERIOD_S * 1000) - 1, 0) for earlier, later in pairwise(sorted(planned)))


def _rank(values: list[int], percent: int) -> float:
    return quantiles(values, n=100)[percent - 1]
