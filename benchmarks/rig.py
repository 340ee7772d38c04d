"""The tools of the benchmarks: a private Redis, and children that answer with JSON or are ended at a deadline."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis.client import Redis

from aggregator.runtime.connection import connect
from aggregator.runtime.keys import Keys
from tests.servers import RedisServer

ROOT = Path(__file__).parent.parent
NAMESPACE = "bench"
KEYS = Keys(NAMESPACE)


class DidNotRun(Exception):
    """A child failed or took too long; the text says why."""


@contextmanager
def private_redis() -> Iterator[tuple[str, Redis]]:
    """Run a Redis on a unix socket with its append-only file on, synced every second; yield its URL and a client."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        RedisServer(Path(folder) / "redis") as server,
        connect(server.url) as client,
    ):
        yield server.url, client
        server.stop()


def fill(client: Redis, queue: str, bodies: list[bytes]) -> None:
    """Push bodies in pieces, because one huge command would hold everything in memory twice."""
    for start in range(0, len(bodies), 1000):
        client.rpush(KEYS.queue(queue), *bodies[start : start + 1000])


def start(
    module: str, *arguments: object, python: str = sys.executable, env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[str]:
    """Start a Python module as a process group of its own."""
    command = [python, "-m", module, *map(str, arguments)]
    return spawn(command, cwd=ROOT, env={**os.environ, **(env or {})}, **options)


def spawn(command: Sequence[str | Path], **options: Any) -> subprocess.Popen[str]:
    """Start a program as a process group of its own."""
    return subprocess.Popen(command, start_new_session=True, text=True, **options)


def end(process: subprocess.Popen[str], number: signal.Signals = signal.SIGKILL) -> None:
    """Signal a child's whole process group, and wait for the child."""
    if process.poll() is None:
        os.killpg(process.pid, number)
    process.wait()


def ask(
    module: str,
    *arguments: object,
    deadline_s: float,
    python: str = sys.executable,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run a module to its end and return the JSON on its last line. Raises DidNotRun."""
    process = start(module, *arguments, python=python, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, errors = process.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        raise DidNotRun(f"not done within {deadline_s:g} s") from None
    finally:
        end(process)
    lines = out.strip().splitlines()
    if process.returncode or not lines:
        said = (errors.strip() or out.strip() or f"exit code {process.returncode}").splitlines()[-1]
        raise DidNotRun(said[:200])
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer
