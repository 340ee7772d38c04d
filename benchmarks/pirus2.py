"""The design of PIRUS2 in a few lines: a round trip for each message, a push for each copy, a write for each line.

`python -m benchmarks.pirus2 tail|broker URL FROM TO...` or `logfile URL FROM FILE`. Nothing is acknowledged: a message
that a process has in hand when it is killed is lost.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import redis
import simplejson


def tail(client: redis.Redis, path: str, queue: str) -> None:
    """Push each line that is added to a file; when the file is not there yet, push every line."""
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
    """Copy each message to all targets."""
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
    # RPOP while there are messages, because it costs Redis less than BRPOP
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
