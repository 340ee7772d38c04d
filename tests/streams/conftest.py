"""An instance with a section `match`, a rule set that nobody else uses, and the worker processes of the section."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.client import Redis

from aggregator.config.loading import load
from aggregator.monitor.findings import findings
from aggregator.monitor.snapshot import take
from aggregator.runtime.kinds import encode
from aggregator.streams.messages import Event
from aggregator.streams.rules.names import SetName
from aggregator.supervision import build
from tests.processes import PROJECT
from tests.runtime.desk import Desk
from tests.stores.conftest import moto, options, prefix, proxy, seaweedfs, store

__all__ = ["moto", "options", "prefix", "proxy", "seaweedfs", "store"]


def event(raw: bytes, received_ms: int = 1_700_000_000_000) -> bytes:
    """Return the message of an event."""
    return encode(Event(stream="s", received_ms=received_ms, event=msgspec.Raw(raw)))


class Matching:
    """One instance; its rules lie in the Redis of `rules_url`, which may be another one."""

    def __init__(self, root: Path, redis_url: str, client: Redis, namespace: str, name: SetName) -> None:
        self.root = root
        self.desk = Desk(client, namespace)
        self.name = name
        self._head = f"[redis]\nurl = {redis_url}\nnamespace = {namespace}\n[aggregator]\nnode = node\n"
        self._started: list[subprocess.Popen[bytes]] = []
        self.rules = client
        self.configure()

    def configure(self, rules_url: str = "", processes: int = 1, **options: Any) -> None:
        """Write and build the configuration."""
        lines = [f"[rules]\nurl = {rules_url}"] if rules_url else []
        lines += ["[worker_match]", "stage = match", "listento = in", "pushto = out", f"rules = {self.name}"]
        lines += [f"numprocs = {processes}", *(f"{option} = {value}" for option, value in options.items())]
        lines += ["[worker_out]", "stage = tests.samplestages:Copier", "listento = out", "fanout = kept", ""]
        (self.root / "loglines.cfg").write_text(self._head + "\n".join(lines))
        build(load(self.root / "loglines.cfg", self.root))

    def start(self, number: int = 0) -> subprocess.Popen[bytes]:
        """Start a worker of the section."""
        command = [sys.executable, "-m", "aggregator", "-r", str(self.root), "work", "worker_match", str(number)]
        with open(self.root / f"worker_{number}.log", "ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=PROJECT)
        self._started.append(process)
        return process

    def end(self) -> None:
        """Kill what was started."""
        for process in self._started:
            process.kill()
            process.wait()

    def write(self, rule_id: str, value: str, *, orig_type: str = "keyword", notice: bool = True, **more: str) -> None:
        """Write a rule as an old rule manager does."""
        fields: Mapping[str, str] = {"rule_id": rule_id, "value": value, "orig_type": orig_type, "tag": "t", **more}
        self.rules.hset(self.name.key(rule_id), mapping=fields)  # type: ignore[arg-type]
        if notice:
            self.rules.publish("traptor-notify", str(self.name))

    def out(self) -> list[Any]:
        """Return the messages that were sent on."""
        return [json.loads(raw) for raw in self.desk.waiting("out")]

    def matched(self) -> list[list[str]]:
        """Return the ids of the rules of each tweet that was sent on."""
        return [[rule["rule_id"] for rule in sent["event"]["traptor"]["collection_rules"]] for sent in self.out()]

    def findings(self) -> dict[str, str]:
        """Return what `health` finds, by code."""
        return {found.code: found.text for found in findings(take(load(self.root / "loglines.cfg", self.root)))}


@pytest.fixture
def set_name() -> SetName:
    """A rule set nobody else uses: rules have no namespace."""
    return SetName("track", random.SystemRandom().randrange(10**9))


@pytest.fixture
def matching(redis_url: str, redis_client: Redis, namespace: str, set_name: SetName) -> Iterator[Matching]:
    """An instance whose rules lie in its own Redis."""
    with tempfile.TemporaryDirectory(prefix="agg-") as folder:
        made = Matching(Path(folder), redis_url, redis_client, namespace, set_name)
        yield made
        made.end()
