"""How fast one worker process drains jobs that do nothing: ours, and those of job libraries, on the same Redis."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import simplejson
from redis.client import Redis

from benchmarks.libraries.job import SIZE_BYTES, body_of
from benchmarks.report import Table, median
from benchmarks.rig import DidNotRun, ask, fill, private_redis

ROUNDS = 3
DEADLINE_S = 20.0


class Peer(NamedTuple):
    """A library, the number of jobs that it runs in a second or two, and the settings that make it crash-safe."""

    name: str
    total: int
    settings: str


OURS = Peer("ours, batch 100", 100_000, "fenced commit")
OURS_SINGLY = Peer("ours, one at a time", 4_000, "fenced commit")
PEERS = (
    Peer("RQ", 400, "SimpleWorker; started jobs are registered"),
    Peer("Celery", 1_500, "acks late, solo, prefetch 100"),
    Peer("Dramatiq", 8_000, "8 threads, prefetch 1000; acks late by design"),
    Peer("Huey", 6_000, "1 thread; no acknowledgement: a killed worker's job is lost"),
    Peer("arq", 2_500, "100 at a time; acks late by design"),
    Peer("taskiq", 4_000, "streams, ack when executed, prefetch 100"),
)


def run() -> Iterator[Table]:
    """Measure; the workers take turns."""
    rates: dict[Peer, list[float]] = {peer: [] for peer in (OURS, OURS_SINGLY, *PEERS)}
    versions: dict[Peer, str] = {}
    broken: dict[Peer, str] = {}
    with private_redis() as (url, client):
        for _ in range(ROUNDS):
            rates[OURS].append(_ours(url, client, OURS.total, 100))
            rates[OURS_SINGLY].append(_ours(url, client, OURS_SINGLY.total, 1))
            for peer in PEERS:
                if peer in broken:
                    continue
                client.flushall()
                try:
                    answer = _theirs(url, peer)
                except DidNotRun as error:
                    broken[peer] = f"did not run: {error}"
                else:
                    rates[peer].append(float(answer["drain"]))
                    versions[peer] = str(answer["version"])
    best = median(rates[OURS])
    rows = [_row(peer, rates[peer], versions.get(peer, ""), broken.get(peer), best) for peer in rates]
    yield Table(
        f"Draining no-op jobs of {SIZE_BYTES} bytes, one worker process",
        ("worker", "version", "jobs/s", "ours/theirs", "crash-safe by"),
        rows,
        (
            f"Medians of {ROUNDS} rounds. The libraries run one job at a time, each with its own bookkeeping; our",
            "worker takes and commits up to 100 messages in a step. One at a time it is where they are.",
        ),
    )


def _ours(url: str, client: Redis, total: int, batch: int) -> float:
    client.flushall()
    fill(client, "from", [simplejson.dumps(body_of(), separators=(",", ":")).encode()] * total)
    return total / float(ask("benchmarks.sides", "ours", "no-op", url, total, batch, deadline_s=60)["seconds"])


def _theirs(url: str, peer: Peer) -> dict[str, Any]:
    name = peer.name.lower()
    return ask(f"benchmarks.libraries.{name}", url, peer.total, deadline_s=DEADLINE_S, python=_python(name))


def _python(name: str) -> str:
    """Return the interpreter that has a library: arq wants an older redis-py and has an environment of its own."""
    own = Path(sys.prefix) / name / "bin" / "python"
    return str(own) if own.exists() else sys.executable


def _row(peer: Peer, rates: list[float], version: str, broken: str | None, best: float) -> tuple[Any, ...]:
    if broken:
        return peer.name, version, "-", "-", broken
    return peer.name, version, median(rates), best / median(rates), peer.settings
