"""The cost of taking messages of several sizes: pushed to `held` all together, or moved there one by one."""

from __future__ import annotations

import time
from collections.abc import Iterator

from redis.client import Redis

from aggregator.runtime.batch import Batch
from aggregator.runtime.connection import Script
from aggregator.runtime.queue import Identity, Queue
from benchmarks.report import Table, median
from benchmarks.rig import KEYS, fill, private_redis

ROUNDS = 7
BATCH = 250
SIZES = (150, 300, 600, 1_000, 2_000, 10_000)
MOVED, PUSHED = 0, 1 << 40
"""The size of an entry in bytes from which messages are moved: 0 moves all of them, 1 << 40 pushes all of them."""


def run() -> Iterator[Table]:
    """Measure; both ways take turns on one server."""
    rows = []
    with private_redis() as (_, client):
        client.config_set("auto-aof-rewrite-percentage", 0)  # a rewrite would hide the growth that is measured
        for size in SIZES:
            total = min(20_000, 40_000_000 // size)
            rounds = [(_taken(client, size, total, MOVED), _taken(client, size, total, PUSHED)) for _ in range(ROUNDS)]
            ratios = [pushed[0] / moved[0] for moved, pushed in rounds]
            rows.append((size, median(ratios), rounds[0][0][1], rounds[0][1][1]))
    yield Table(
        f"Taking and committing messages, {BATCH} at a time, append-only file on",
        ("bytes a message", "moving/pushing, rate", "file bytes a message, moved", "pushed"),
        rows,
        (f"Medians of the ratios of {ROUNDS} rounds. Above 1 moving is faster.",),
    )


def _taken(client: Redis, size: int, total: int, large: int) -> tuple[float, float]:
    """Take all messages. Returns seconds, and how many bytes the append-only file grew for each message."""
    client.flushall()
    fill(client, "in", [b'{"n":"%s"}' % (b"x" * (size - 8))] * total)
    queue = Queue(client, KEYS, Identity("stage", 0, "node"), "in")
    queue.start({"section": "stage"})
    for name in ("claim", "turn"):
        text = queue._scripts[name].text
        queue._scripts[name] = Script(text.replace("local LARGE = 1000", f"local LARGE = {large}"))
    before = client.info("persistence")["aof_current_size"]
    began = time.perf_counter()
    messages = queue.claim(0, BATCH).messages
    while messages:
        batch = Batch()
        for message in messages:
            batch.handled(message, ())
        batch.close()
        messages = queue.turn(batch, BATCH).messages
    seconds = time.perf_counter() - began
    return seconds, (client.info("persistence")["aof_current_size"] - before) / total
