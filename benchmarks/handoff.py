"""How fast one worker hands messages from queue to queue, compared with a bare loop that does as little as possible."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import simplejson
from redis.client import Redis

from benchmarks.libraries.job import SIZE_BYTES, body_of
from benchmarks.report import Table, median
from benchmarks.rig import KEYS, ask, fill, private_redis
from benchmarks.sides import TARGETS

ROUNDS = 5


class Case(NamedTuple):
    """A case: what is done with each message, how many messages there are, and how many are taken at a time."""

    title: str
    name: str
    total: int
    batch: int


CASES = (
    Case("as it is", "as it is", 100_000, 100),
    Case("new bytes, no JSON", "new bytes", 100_000, 100),
    Case("simplejson both ways", "decoded", 60_000, 100),
    Case("fan-out to two queues", "fan-out", 60_000, 100),
    Case("one at a time", "as it is", 4_000, 1),
)


def run() -> Iterator[Table]:
    """Measure; the sides take turns, each in a process of its own, on the same server."""
    # with spaces, which the runtime leaves out: encoded again, a message is not the bytes that Redis has already
    body = simplejson.dumps(body_of()).encode()
    rates: dict[tuple[Case, str], list[float]] = {}
    with private_redis() as (url, client):
        for _ in range(ROUNDS):
            for case in CASES:
                for side in ("ours", "bare"):
                    rates.setdefault((case, side), []).append(_rate(url, client, side, case, body))
    rows = [_row(case, rates[case, "ours"], rates[case, "bare"]) for case in CASES]
    yield Table(
        f"Hand-off of {SIZE_BYTES}-byte messages from queue to queue, one worker process, crash-safe",
        ("messages", "ours/s", "bare loop/s", "ours/bare", "ratios of the rounds"),
        rows,
        (
            f"Medians of {ROUNDS} rounds. Batches of 100, but for the last line.",
            "The bare loop: a script that takes 100, and one MULTI; no fence, books, retries, bounds or waiting.",
        ),
    )


def _rate(url: str, client: Redis, side: str, case: Case, body: bytes) -> float:
    client.flushall()
    fill(client, "from", [body] * case.total)
    seconds = ask("benchmarks.sides", side, case.name, url, case.total, case.batch, deadline_s=60)["seconds"]
    for target in TARGETS.get(case.name, ("to",)):
        arrived = client.llen(KEYS.queue(target))
        assert arrived == case.total, f"{side} handed over {arrived} of {case.total} messages"
    return case.total / float(seconds)


def _row(case: Case, ours: list[float], bare: list[float]) -> tuple[Any, ...]:
    ratios = sorted(one / other for one, other in zip(ours, bare, strict=True))
    return case.title, median(ours), median(bare), median(ratios), f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
