"""An instance in a folder, on the shared Redis, and the command line on it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import simplejson
from redis.client import Redis

from aggregator.cli import main
from aggregator.config.configuration import Config
from aggregator.config.loading import load
from aggregator.runtime.batch import Batch
from aggregator.runtime.message import History
from aggregator.supervision import build
from tests.runtime.desk import Desk

PROJECT = Path(__file__).parents[2]

PIPELINE = """
[logger_feed]
stage = tests.samplestages:Feeder
pushto = lines

[worker_copy]
stage = tests.samplestages:Copier
listento = lines
fanout = kept, asked

[worker_keep]
stage = tests.samplestages:Keeper
listento = kept
logfile = data/kept.log

[worker_ask]
stage = tests.samplestages:Caller
listento = asked
repository_plugin = tests.sampleplugin
success_queue = done
numprocs = 2

[worker_done]
stage = tests.samplestages:Copier
listento = done
fanout = kept
"""


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What it printed, line by line."""
        return self.out.splitlines()

    def json(self) -> Any:
        """What it printed, as JSON."""
        return simplejson.loads(self.out)


class Site:
    """One instance: its configuration, its queues, and the command line."""

    def __init__(self, root: Path, url: str, namespace: str, client: Redis, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.desk = Desk(client, namespace)
        self.head = f"[redis]\nurl = {url}\nnamespace = {namespace}\n[aggregator]\nnode = node\n"
        self._capsys = capsys
        self.configure(PIPELINE)

    def configure(self, text: str) -> None:
        """Write loglines.cfg."""
        (self.root / "loglines.cfg").write_text(self.head + text)

    def config(self) -> Config:
        """Return the configuration."""
        return load(self.root / "loglines.cfg", self.root)

    def run(self, *words: str) -> Ran:
        """Run a command in this process."""
        self._build_for(words)
        self._capsys.readouterr()
        code = main(["--root", str(self.root), *words])
        out, err = self._capsys.readouterr()
        return Ran(code, out, err)

    def build(self, root: Path | None = None) -> None:
        """Build the configuration as it stands in the file, of this instance or of one in another folder."""
        build(load((root or self.root) / "loglines.cfg", root or self.root))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command as a process of its own; a worker runs what was built, so that is done before."""
        self._build_for(words)
        command = [sys.executable, "-m", "aggregator", "--root", str(self.root), *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=PROJECT)

    def _build_for(self, words: tuple[str, ...]) -> None:
        if words[0] == "work":
            self.build(Path(words[words.index("--root") + 1]) if "--root" in words else None)

    def kill(self, queue: str, *bodies: bytes, reason: str = "bad", trace: str = "") -> list[int]:
        """Set messages aside, and return their ids."""
        before = set(self.dead(queue))
        self.desk.push(queue, *bodies)
        worker = self.desk.worker(queue, 9)
        batch = Batch()
        for message in worker.claim(0, len(bodies)).messages:
            batch.set_aside(message, History(attempts=2, first=1.0, error=reason, trace=trace, worker="w", died=2.0))
        batch.close()
        worker.commit(batch, prefix=True)
        worker.leave()
        return sorted(set(self.dead(queue)) - before)

    def dead(self, queue: str) -> list[int]:
        """Return the ids of a queue's dead letters."""
        return sorted(int(field) for field in self.desk.client.hkeys(self.desk.keys.dead(queue)))


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short path: an instance's sockets do not fit below pytest's own when tests run side by side."""
    with tempfile.TemporaryDirectory(prefix="agg-") as folder:
        yield Path(folder)


@pytest.fixture
def long_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """To commands in this process a worker lives though the machine stands still between its beat and their look."""
    monkeypatch.setattr("aggregator.runtime.roster.LEASE_S", 600.0)


@pytest.fixture
def site(
    tmp_path: Path, redis_url: str, redis_client: Redis, namespace: str, capsys: pytest.CaptureFixture[str]
) -> Site:
    """An instance with a pipeline of sample stages; nothing of it runs."""
    return Site(tmp_path, redis_url, namespace, redis_client, capsys)
