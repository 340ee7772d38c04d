"""The time from SIGKILL of a worker until another worker has handled the messages that the killed worker held."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from redis.client import Redis

from benchmarks.report import Table, median
from benchmarks.rig import KEYS, ROOT, end, fill, private_redis, start
from tests.servers import wait_until

ROUNDS = 3
HELD = 100

Again = Callable[[], None]
"""The action of a parent process after its worker was killed."""


class Trial:
    """A worker that holds all messages in a Redis, for as long as the file `hold` is in `folder`."""

    def __init__(self, url: str, client: Redis, folder: Path, stack: ExitStack) -> None:
        self.url, self.client, self.folder, self.stack = url, client, folder, stack
        client.flushall()
        (folder / "hold").touch()
        fill(client, "work", [b'{"n":%d}' % number for number in range(HELD)])

    def run(self, number: int) -> None:
        """Start a worker; it is ended with the trial."""
        self.stack.callback(end, start("benchmarks.holder", self.url, self.folder, number, stdout=subprocess.DEVNULL))

    def supervise(self) -> None:
        """Start supervisord, and let it run worker 0."""
        command = f"{sys.executable} -m benchmarks.holder {self.url} {self.folder} 0"
        config = self.folder / "supervisord.conf"
        config.write_text(
            f"[supervisord]\nlogfile={self.folder}/supervisord.log\npidfile={self.folder}/pid\n"
            f"[program:holder]\ncommand={command}\ndirectory={ROOT}\nautorestart=unexpected\nexitcodes=0\n"
            "stdout_logfile=NONE\nstderr_logfile=NONE\n"
        )
        process = start("supervisor.supervisord", "-n", "-c", config, stdout=subprocess.DEVNULL)
        self.stack.callback(end, process, signal.SIGTERM)

    def recover(self, again: Again) -> float:
        """Kill worker 0 once it holds all messages; return the seconds until all of them are handled."""
        wait_until(lambda: self.client.llen(KEYS.held("bench:holder_0")) == HELD, 20, "worker 0 holds all messages")
        (self.folder / "hold").unlink()
        pid = int(self.client.hget(KEYS.worker("bench:holder_0"), "pid") or 0)
        killed = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        again()
        wait_until(lambda: self.client.llen(KEYS.queue("done")) == HELD, 60, "the messages are handled")
        return time.perf_counter() - killed


def restarted(trial: Trial) -> float:
    """Let a parent start the worker anew as soon as it was killed."""
    trial.run(0)
    return trial.recover(lambda: trial.run(0))


def supervised(trial: Trial) -> float:
    """Let supervisord notice the kill and start the worker anew."""
    trial.supervise()
    return trial.recover(lambda: None)


def sibling(trial: Trial) -> float:
    """Leave the messages to a second worker of the section, which is idle."""
    trial.run(0)
    wait_until(lambda: trial.client.llen(KEYS.held("bench:holder_0")) == HELD, 20, "worker 0 holds all messages")
    trial.run(1)
    wait_until(lambda: trial.client.hget(KEYS.worker("bench:holder_1"), "state") == b"idle", 20, "worker 1 is idle")
    return trial.recover(lambda: None)


CASES = {
    "restarted at once by its parent": restarted,
    "restarted by supervisord": supervised,
    "not restarted, a sibling lives": sibling,
}


def run() -> Iterator[Table]:
    """Measure the cases in turns."""
    times: dict[str, list[float]] = {title: [] for title in CASES}
    with private_redis() as (url, client):
        for _ in range(ROUNDS):
            for title, case in CASES.items():
                with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
                    times[title].append(case(Trial(url, client, Path(folder), stack)))
    yield Table(
        f"From SIGKILL of a worker that holds {HELD} messages until all of them are handled, in seconds",
        ("the killed worker is", "median", "best", "worst"),
        [(title, median(found), min(found), max(found)) for title, found in times.items()],
        (f"{ROUNDS} rounds.",),
    )
