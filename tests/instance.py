"""A whole instance under a real supervisord, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import simplejson

from aggregator.config.configuration import Config
from aggregator.config.loading import load
from aggregator.runtime.connection import AWAY, connect
from aggregator.runtime.keys import Keys
from aggregator.runtime.ledger import Account, accounts
from aggregator.supervision import Control
from tests.processes import PROJECT
from tests.servers import free_port, wait_until


class Instance:
    """`aggregator run` in a folder; as a context manager everything is stopped and removed at the end."""

    def __init__(self, configuration: str, redis: str = "[process_redis]\n") -> None:
        """`redis` are the sections that say where Redis is; the instance's own, or another one."""
        self._redis = redis
        # a short path: the sockets below it must fit
        self.root = Path(tempfile.mkdtemp(prefix="agg-"))
        shutil.copytree(PROJECT / "plugins", self.root / "plugins")
        self.file = self.root / "loglines.cfg"
        self.configure(configuration)
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, configuration: str) -> None:
        """Write the configuration, with a web port of its own."""
        head = f"[supervisor]\nport = 127.0.0.1:{free_port()}\n{self._redis}"
        self.file.write_text(head + configuration)

    def config(self) -> Config:
        """Return the configuration, without its stages: their plugins belong to the instance's own processes."""
        return load(self.file, self.root, only="process_redis")

    def start(self, ready: Callable[[], object] | None = None) -> None:
        """Start supervisord by `aggregator run`, and wait until all are at work, or until what is `ready` says so."""
        with open(self.root / "run.log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "aggregator", "-r", str(self.root), "run"],
                stdout=log, stderr=log, cwd=self.root, start_new_session=True,
            )  # fmt: skip
        wait_until(self.control().running, 30, f"supervisord runs; see {self.root}/run.log")
        wait_until(ready or self.all_at_work, 60, f"every program is at work; see {self.root}/logs")

    def all_at_work(self) -> bool:
        """True when every program runs, and every worker has begun."""
        states = self.control().states()
        if any(state.state != "RUNNING" for state in states):
            return False
        workers = [state.name for state in states if not state.name.startswith("process_")]
        try:
            return all(self.worker(name).get("pid") for name in workers)
        except AWAY:
            return False

    def control(self) -> Control:
        """Return the way to its supervisord."""
        return Control(self.root / "run" / "supervisor.sock")

    def pids(self) -> dict[str, int]:
        """Return the processes that run, by their names; those that are just starting are left out."""
        return {state.name: state.pid for state in self.control().states() if state.state == "RUNNING"}

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command on this instance."""
        command = [sys.executable, "-m", "aggregator", "-r", str(self.root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=self.root, timeout=60, check=False)

    def json(self, *arguments: str) -> Any:
        """Return what a command says as JSON."""
        return simplejson.loads(self.cli(*arguments, "--json").stdout)

    def books(self) -> dict[str, Account]:
        """Return all accounts by name."""
        config = self.config()
        with connect(config.redis.url) as client:
            return {account.name: account for account in accounts(client, Keys(config.redis.namespace))}

    def worker(self, name: str) -> dict[str, str]:
        """Return what a worker tells of itself."""
        config = self.config()
        with connect(config.redis.url) as client:
            facts = client.hgetall(Keys(config.redis.namespace).worker(f"{config.node}:{name}"))
        return {field.decode(): value.decode() for field, value in facts.items()}

    def kill(self, name: str) -> None:
        """SIGKILL one of its processes, once it runs."""

        def killed() -> bool:
            try:
                os.kill(self.pids()[name], signal.SIGKILL)
            except (KeyError, ProcessLookupError):
                return False  # it is starting, or had just ended by itself
            return True

        wait_until(killed, 60, f"{name} runs; see {self.root}/logs")

    def kill_supervisord(self) -> None:
        """SIGKILL supervisord alone: its programs become orphans."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End as Ctrl-C does. Returns supervisord's exit code."""
        assert self.process
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=60)

    def __enter__(self) -> Instance:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process and self.process.poll() is None:
            self.stop()
        wait_until(lambda: not self._leftovers(), 30, f"nothing of {self.root} runs any more")
        if kind is None:
            shutil.rmtree(self.root)

    def _leftovers(self) -> list[int]:
        """Return processes that work in this folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if os.readlink(entry / "cwd").startswith(str(self.root)):
                        found.append(int(entry.name))
                except OSError:
                    continue  # it ended meanwhile
        return found
