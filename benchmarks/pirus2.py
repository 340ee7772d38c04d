"""The design of PIRUS2, written anew in a few lines: a message a round trip, a push a copy, a write a line.

`python -m benchmarks.pirus2 tail|broker URL FROM TO...` or `logfile URL FROM FILE`. Nothing is acknowledged: what a
process had in hand when it is killed is lost.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import redis
import simplejson


def tail(client: redis.Redis, path: str, queue: str) -> None:
    """Push each line of a file from now on; of one that is not there yet, every line."""
    there = Path(path).exists()
    client.ping()
    while not Path(path).exists():
        time.sleep(0.01)
    with open(path, encoding="utf-8", errors="replace") as file:
        if there:
            file.seek(0, os.SEEK_END)
        while True:
            line = file.readline()
            if line:
                client.lpush(queue, simplejson.dumps({"service": "bench", "logline": line.rstrip("\n")}))
            else:
                time.sleep(0.01)


def broker(client: redis.Redis, queue: str, *targets: str) -> None:
    """Copy each message."""
    while True:
        body = _next(client, queue)
        for target in targets:
            client.lpush(target, body)


def logfile(client: redis.Redis, queue: str, path: str) -> None:
    """Write each message's line."""
    with open(path, "ab", buffering=0) as file:
        while True:
            file.write(simplejson.loads(_next(client, queue))["logline"].encode() + b"\n")


def _next(client: redis.Redis, queue: str) -> bytes:
    # RPOP while there is something, which costs Redis less than BRPOP
    body = client.rpop(queue)
    while body is None:
        popped = client.brpop([queue], timeout=1)
        body = popped[1] if popped else None
    return body


def main(role: str, url: str, *arguments: str) -> None:
    """Run one of the processes until it is killed."""
    {"tail": tail, "broker": broker, "logfile": logfile}[role](redis.Redis.from_url(url), *arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
