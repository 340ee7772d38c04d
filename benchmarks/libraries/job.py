"""The job that every library runs: it does nothing but count, and after the last job the process reports and ends."""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

SIZE_BYTES = 300


def body_of(size_bytes: int = SIZE_BYTES) -> dict[str, str]:
    """Return a message whose JSON text has this size."""
    body = {"service": "bench", "logline": ""}
    body["logline"] = "x" * (size_bytes - len(json.dumps(body, separators=(",", ":"))))
    return body


class _Run:
    total = 0
    package = ""
    enqueue_s = 0.0
    left: Callable[[], int] = staticmethod(lambda: 0)
    first = 0.0
    numbers = itertools.count(1)


def arguments() -> tuple[str, int]:
    """Return the URL of Redis and the number of jobs."""
    return sys.argv[1], int(sys.argv[2])


def expect(package: str, total: int, enqueue_s: float, left: Callable[[], int] | None = None) -> None:
    """Note what was pushed; `left()`, for libraries that may acknowledge late, counts unacknowledged jobs in Redis."""
    _Run.package, _Run.total, _Run.enqueue_s = package, total, enqueue_s
    if left:
        _Run.left = staticmethod(left)


def enqueue(package: str, total: int, push: Callable[[], Any], left: Callable[[], int] | None = None) -> None:
    """Push all jobs, one call each, as a program that uses the library does; the caller drains them then."""
    began = time.perf_counter()
    for _ in range(total):
        push()
    expect(package, total, time.perf_counter() - began, left)


def noop(service: str, logline: str) -> None:
    """Do nothing but count. The clock starts at the first job, so that a library's start does not count against it."""
    number = next(_Run.numbers)  # atomic, as some libraries use threads
    if number == 1:
        _Run.first = time.perf_counter()
    if number == _Run.total:
        threading.Thread(target=_report).start()


def _report() -> None:
    while _Run.left():
        time.sleep(0.002)
    rate = _Run.total / (time.perf_counter() - _Run.first)
    answer = {"drain": rate, "enqueue": _Run.total / _Run.enqueue_s, "version": version(_Run.package)}
    # not print: Celery turns standard output into its log
    os.write(1, (json.dumps(answer) + "\n").encode())
    os._exit(0)
