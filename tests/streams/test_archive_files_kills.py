"""From a platform's double through `record` and `archive` into a store, while everything is killed."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from redis.client import Redis

from aggregator.config.loading import load
from aggregator.runtime.keys import Keys
from aggregator.runtime.ledger import accounts
from aggregator.runtime.message import encode_body
from aggregator.stores import open_store
from aggregator.stores.store import Store
from aggregator.streams.reading.places import StorePlace, gaps_of
from aggregator.streams.recording.paths import sidecar_of
from aggregator.supervision import build
from tests.instance import Instance
from tests.processes import PROJECT
from tests.servers import wait_until
from tests.stores.servers import Exchange, Proxy, S3Server
from tests.streams.platforms import Publisher
from tests.streams.recorded import NOON, TWEETS, Recording
from tests.streams.test_archive_files import Fed
from tests.streams.test_kills import balanced, gaps

VICTIMS = ("stream_s_0", "worker_record_0", "worker_archive_0", "process_redis_0")
CONFIGURATION = """
[stream_s]
type = TYPE
url = URL
pushto = events

[worker_record]
stage = record
listento = events
save_interval = 2s
pushto = recorded@node

[worker_archive]
stage = archive
listento = recorded@node
store = test
prefix = captured
keep = 2s

[store_test]
"""


def stored(store: Store) -> Counter[int]:
    """Return the numbers of the events in a store, with how often each is there; sidecars fit their files."""
    found: Counter[int] = Counter()
    for info in list(store.list("captured/s/")):
        if info.key.endswith(".gz.json"):
            content, _ = store.get(info.key.removesuffix(".json"))
            assert json.loads(store.get(info.key)[0])["sha256"] == hashlib.sha256(content).hexdigest()
            found.update(json.loads(line)["n"] for line in gzip.decompress(content).splitlines())
    return found


def left(root: Path) -> list[Path]:
    """Return the files with events that are on the disk."""
    return list((root / "data/streams/s").rglob("s-*"))


def run(store: Store, options: dict[str, Any], rounds: int, kind: str, path: str, *, resumes: bool) -> list[int]:
    """Kill in rounds. Returns the events that are neither stored once nor, where none can be had again, in a gap."""
    section = "".join(f"{name} = {text}\n" for name, text in options.items())
    with Publisher(resumes=resumes) as publisher:
        text = CONFIGURATION.replace("TYPE", kind).replace("URL", publisher.url.replace("/stream", path))
        with Instance(text + section) as instance:
            instance.start()
            wait_until(lambda: stored(store), 60, "events reach the store")
            first = min(stored(store))
            for _ in range(rounds):
                then, victim = len(publisher.published), random.choice(VICTIMS)
                instance.kill(victim)
                wait_until(lambda then=then: max(stored(store)) > then, 60, f"events flow again after {victim}")
            publisher.stop_publishing()
            last = len(publisher.published) - 1
            wait_until(lambda: last in stored(store), 60, f"the last event {last} is in the store")
            wait_until(lambda: not left(instance.root), 60, "nothing is left on the disk")
            wait_until(lambda: balanced(instance), 60, "the books balance")
            known, published = gaps(instance.root), publisher.published
            place = StorePlace(store, "captured")
            wait_until(lambda: len(list(gaps_of(place, "s"))) == len(known), 90, "the gaps are in the store")
    found = stored(store)
    if resumes:
        assert known == []
    in_gap = {
        n for n in range(first, last + 1)
        if not found[n] and any(gap["from_ms"] <= published[n] <= gap["to_ms"] for gap in known)
    }  # fmt: skip
    return [n for n in range(first, last + 1) if found[n] != 1 and n not in in_gap]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", ["moto"])
def test_a_stream_that_resumes_is_in_the_store_once_whatever_is_killed(options: dict[str, Any], store: Store) -> None:
    assert run(store, options, 6, "wikimedia", "/stream", resumes=True) == []


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", ["directory"])
def test_what_is_missing_in_the_store_lies_in_a_gap_that_is_there_too(options: dict[str, Any], store: Store) -> None:
    assert run(store, options, 6, "ndjson", "/lines", resumes=False) == []


class Archiver:
    """One worker of `archive` that is killed when it makes its nth request."""

    def __init__(self, root: Path, url: str, namespace: str, client: Redis, store: dict[str, Any]) -> None:
        self.root = root
        self._client, self._keys = client, Keys(namespace)
        sections = {
            "redis": {"url": url, "namespace": namespace},
            "worker_archive": {
                "stage": "archive", "listento": "recorded@node", "store": "test", "prefix": "captured", "keep": "0",
                "maxdeliveries": 1000, "maxtries": 1000, "retrymax": "200ms",
            },
            # not started: it says that this section is fed by `record`
            "worker_record": {"stage": "record", "listento": "events", "pushto": "recorded@node"},
            "store_test": store,
        }  # fmt: skip
        lines = [f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in texts.items()) for name, texts in sections.items()]
        (root / "run").mkdir(parents=True)
        (root / "run/node").write_text("here\n")
        (root / "loglines.cfg").write_text("\n".join(lines))
        build(load(root / "loglines.cfg", root))
        self.process: subprocess.Popen[bytes] | None = None

    def push(self, message: dict[str, Any]) -> None:
        self._client.rpush(self._keys.queue("recorded@here"), encode_body(message))

    def start(self) -> None:
        with open(self.root / "worker.log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "aggregator", "-r", str(self.root), "work", "worker_archive", "0"],
                stdout=log, stderr=log, cwd=PROJECT,
            )  # fmt: skip

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def is_done(self) -> bool:
        found = [each for each in accounts(self._client, self._keys) if each.name == "recorded@here"]
        assert not any(each.dead for each in found), self.log()
        waits = any(each.ready or each.in_flight or each.delayed or not each.balanced for each in found)
        return bool(found) and not waits and not left(self.root)

    def has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def log(self) -> str:
        return (self.root / "worker.log").read_text()[-3000:]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("is_done_before", [True, False], ids=["done", "not done"])
def test_a_worker_killed_at_each_request_stores_each_file_once(
    tmp_path: Path,
    redis_url: str,
    redis_client: Redis,
    namespace: str,
    moto: S3Server,
    proxy: Proxy,
    prefix: str,
    is_done_before: bool,
) -> None:
    archiver = Archiver(tmp_path / "here", redis_url, namespace, redis_client, proxy.options(prefix))
    fed = Fed(archiver.root, proxy.options(prefix))
    recording = Recording(archiver.root / "data/streams")
    recording.gap("s", NOON, NOON + 5)
    contents = {}
    for number in range(8):
        raw = json.dumps({"n": number, "tweet": json.loads(TWEETS[0])}).encode()
        path = recording.file("s", [raw], at_ms=NOON + number * 1000)
        os.utime(sidecar_of(path), (NOON / 1000, NOON / 1000))  # old enough to be found without its message
        contents[f"captured/{path.relative_to(recording.directory)}"] = path.read_bytes()
        archiver.push(fed.told(path))

    seen = deadly = 0

    def trouble(exchange: Exchange) -> None:
        nonlocal seen
        seen += 1
        if seen != deadly:
            exchange.pass_on()
            return
        if is_done_before:
            exchange.forward()
        archiver.kill()
        exchange.hang_up()

    proxy.trouble = trouble
    store = open_store(**moto.options(prefix))

    def is_done() -> bool:
        return archiver.is_done() and any(info.key.endswith(".gaps.jsonl") for info in store.list())

    try:
        while not is_done():
            seen, deadly = 0, deadly + 1
            assert deadly < 200, archiver.log()
            archiver.start()
            wait_until(lambda: archiver.has_ended() or is_done(), 90, f"killed at request {deadly}, or done")
    finally:
        archiver.kill()

    there = {info.key: store.get(info.key)[0] for info in list(store.list())}
    sidecars = {key for key in there if key.endswith(".gz.json")}
    assert sidecars == {f"{key}.json" for key in contents} and deadly > 10
    assert {key: content for key, content in there.items() if key.endswith(".gz")} == contents
    [known] = [content for key, content in there.items() if key.endswith(".gaps.jsonl")]
    assert known == (recording.directory / "s/s.gaps.jsonl").read_bytes()
