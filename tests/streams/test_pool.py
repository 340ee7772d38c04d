"""Two nodes and one Redis: a credential has one connection, whoever is killed, stopped or cut off."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis.client import Redis

from aggregator.config.configuration import Config
from aggregator.config.loading import load
from aggregator.errors import ConfigError
from aggregator.runtime.connection import connect
from aggregator.runtime.keys import Keys
from aggregator.runtime.lease import Leases
from aggregator.streams.credentials import CredentialSettings
from tests.feeds.webserver import Talk, WebServer
from tests.instance import Instance
from tests.servers import RedisServer, alive, wait_until
from tests.streams.capturing import Captured
from tests.streams.recorded import lines_in

MOVED_S = 40.0
"""A shard moves within 15 s; the rest is for a busy machine."""
CREDENTIALS = {"one": "token-1", "two": "token-2"}
CONFIGURATION = """
[credential_one]
token = token-1
pool = p

[credential_two]
token = token-2
pool = p

[stream_x]
type = ndjson
url = URL/x
pool = p
pushto = events@node

[stream_y]
type = ndjson
url = URL/y
pool = p
pushto = events@node

[worker_record]
stage = record
listento = events@node
save_interval = 2s
"""

ONE_CREDENTIAL = """
[credential_one]
bearer_token = token-1

[stream_x]
type = x_v2
url = URL/
credential = one
pushto = events@node

[worker_record]
stage = record
listento = events@node
save_interval = 2s
"""


class Platform:
    """Numbered events on every path, and an eye on how many connections each credential has at once."""

    def __init__(self, pause_s: float = 0.02) -> None:
        self.published: list[int] = []
        """When each event was published, in Unix milliseconds; the number of an event is its index."""
        self.most: Counter[str] = Counter()
        """The most connections that a credential had at a time."""
        self.refused: set[str] = set()
        """Credentials that are answered 401."""
        self.opened: Counter[str] = Counter()
        """How often each path was connected."""
        self._open: dict[str, list[Talk]] = {}
        self._looking = threading.Lock()
        self._pause_s = pause_s
        self._over = threading.Event()
        self._server = WebServer()
        self._server.answer_all = self._play
        self._thread = threading.Thread(target=self._publish, daemon=True)

    @property
    def url(self) -> str:
        """Where the streams are."""
        return self._server.url

    def open(self, path: str) -> int:
        """Return how many connections of a path are open."""
        with self._looking:
            return sum(talk.asked.path == path for talks in self._open.values() for talk in talks if not _is_over(talk))

    def __enter__(self) -> Platform:
        self._server.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._server.__exit__(None, None, None)

    def end(self) -> None:
        """Publish nothing more."""
        self._over.set()
        self._thread.join()

    def _publish(self) -> None:
        while not self._over.wait(self._pause_s):
            self.published.append(int(time.time() * 1000))

    def _play(self, talk: Talk) -> None:
        credential = talk.asked.headers["authorization"].removeprefix("Bearer ")
        if credential in self.refused:
            return talk.answer(b"", "401 Unauthorized")
        with self._looking:
            self._open[credential] = [each for each in self._open.get(credential, []) if not _is_over(each)] + [talk]
            self.most[credential] = max(self.most[credential], len(self._open[credential]))
            self.opened[talk.asked.path] += 1
            number = len(self.published)
        talk.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while not talk.stop.wait(self._pause_s):
            end = len(self.published)
            talk.send(b"".join(b'{"n":%d}\r\n' % n for n in range(number, end)))
            number = end


def _is_over(talk: Talk) -> bool:
    """True when the client has closed the connection, although this server may not have noticed yet."""
    if talk.sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(talk.sock, select.POLLRDHUP)
    return bool(poll.poll(0))


class Node(Instance):
    """An instance that shares a Redis."""

    def __init__(self, name: str, configuration: str, redis: RedisServer) -> None:
        super().__init__(configuration, f"[redis]\nurl = {redis.url}\n[aggregator]\nnode = {name}\n")
        self.name = name

    def config(self) -> Config:
        """Return the configuration."""
        return load(self.file, self.root)

    def processes(self) -> list[int]:
        """Return supervisord, first, and all that it runs."""
        assert self.process
        return [self.process.pid, *self._leftovers()]

    def kill_all(self) -> None:
        """SIGKILL the whole node, as when its power fails."""
        assert self.process
        for pid in (processes := self.processes()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: not any(map(alive, processes)))

    def freeze(self) -> list[int]:
        """SIGSTOP the whole node. Returns what was stopped."""
        for pid in (processes := self.processes()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        return processes


class Cluster:
    """Two nodes with the same sections."""

    def __init__(self, platform: Platform, redis: RedisServer, nodes: dict[str, Node]) -> None:
        self.platform = platform
        self.redis = redis
        self.nodes = nodes

    def holder(self, name: str, pool: str = "streams") -> Node | None:
        """Return the node that has a lease; those of the pool `streams` are had by the nodes that capture."""
        with connect(self.redis.url) as client:
            lease = client.hget(Keys("aggregator").leases(pool), name)
        held = (lease or b"").decode().split()
        return self.nodes[held[2].partition(":")[0]] if held and float(held[1]) > time.time() else None

    def flows(self) -> bool:
        """True once every stream has its one connection."""
        return all(self.platform.open(path) == 1 for path in ("/x", "/y"))

    def captor(self, stream: str) -> Node:
        """Return the node that captures a stream, once there is one."""
        wait_until(lambda: self.flows() and self.holder(stream), MOVED_S, f"{stream} is captured")
        node = self.holder(stream)
        assert node is not None
        return node

    def process(self, stream: str) -> int:
        """Return the process that captures a stream, once there is one."""
        found: list[int] = []

        def runs() -> bool:
            pid = self.captor(stream).pids().get(f"stream_{stream}_0", 0)
            found.append(pid)
            # supervisord may not know yet that it was killed
            return pid != 0 and alive(pid)

        wait_until(runs, MOVED_S, f"{stream} is captured")
        return found[-1]

    def numbers(self, stream: str) -> Counter[int]:
        """Return the numbers of the events in the files of all nodes, with how often each is there."""
        found: Counter[int] = Counter()
        for node in self.nodes.values():
            for path in (node.root / "data/streams" / stream).rglob("*.jsonl.gz"):
                found.update(json.loads(line)["n"] for line in lines_in(path))
        return found

    def gaps(self, stream: str) -> list[dict[str, Any]]:
        """Return the gaps of a stream that any node has recorded."""
        files = [node.root / "data/streams" / stream / f"{stream}.gaps.jsonl" for node in self.nodes.values()]
        return [json.loads(line) for file in files if file.exists() for line in file.read_text().splitlines()]

    def lost(self, stream: str, first: int) -> list[int]:
        """Return the events from a number on that are in no file and no gap."""
        found, gaps = self.numbers(stream), self.gaps(stream)
        missing = [(n, moment) for n, moment in enumerate(self.platform.published) if n >= first and not found[n]]
        return [n for n, moment in missing if not any(gap["from_ms"] <= moment <= gap["to_ms"] for gap in gaps)]


@contextmanager
def cluster(redis: RedisServer, configuration: str = CONFIGURATION) -> Iterator[Cluster]:
    with ExitStack() as stack:
        platform = stack.enter_context(Platform())
        text = configuration.replace("URL", platform.url)
        nodes = {name: stack.enter_context(Node(name, text, redis)) for name in ("a", "b")}
        for node in nodes.values():
            node.start()
        yield Cluster(platform, redis, nodes)


def kill_the_captor(cluster: Cluster, stream: str) -> None:
    """SIGKILL the process that captures: its supervisord starts it again."""
    pid = cluster.process(stream)
    opened = cluster.platform.opened[f"/{stream}"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: cluster.platform.opened[f"/{stream}"] > opened, MOVED_S, "somebody captures again")


def stop_the_captor(cluster: Cluster, stream: str) -> None:
    """SIGSTOP the process that captures until it has no connection any more."""
    pid = cluster.process(stream)
    opened = cluster.platform.opened[f"/{stream}"]
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: cluster.platform.opened[f"/{stream}"] > opened, MOVED_S, "somebody else captures")
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def stop_the_captor_shortly(cluster: Cluster, stream: str) -> None:
    """SIGSTOP the process that captures for less than its lease lasts: it goes on as if nothing had been."""
    pid = cluster.process(stream)
    published = len(cluster.platform.published)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: len(cluster.platform.published) > published + 50)
    os.kill(pid, signal.SIGCONT)


def stop_the_node(cluster: Cluster, stream: str) -> None:
    """SIGSTOP a whole node until the other one captures in its place."""
    node = cluster.captor(stream)
    stopped = node.freeze()
    wait_until(lambda: cluster.holder(stream) not in (None, node), MOVED_S, "the other node captures")
    wait_until(cluster.flows, MOVED_S, "the other node is connected")
    for pid in stopped:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def kill_the_node(cluster: Cluster, stream: str) -> None:
    """SIGKILL a whole node; start it again once the other one captures in its place."""
    node = cluster.captor(stream)
    node.kill_all()
    wait_until(lambda: cluster.holder(stream) not in (None, node), MOVED_S, "the other node captures")
    wait_until(cluster.flows, MOVED_S, "the other node is connected")
    node.start()


def end_the_node(cluster: Cluster, stream: str) -> None:
    """Stop a whole node in good order; start it again once the other one captures in its place."""
    node = cluster.captor(stream)
    node.stop()
    wait_until(lambda: cluster.holder(stream) not in (None, node), MOVED_S, "the other node captures")
    wait_until(cluster.flows, MOVED_S, "the other node is connected")
    node.start()


def pause_redis(cluster: Cluster, stream: str) -> None:
    """SIGSTOP Redis until nobody is connected any more."""
    cluster.captor(stream)
    cluster.redis.pause()
    try:
        wait_until(lambda: not any(map(cluster.platform.open, ("/x", "/y"))), MOVED_S, "nobody is sure of a lease")
    finally:
        cluster.redis.resume()


TROUBLES = (
    kill_the_captor,
    stop_the_captor,
    stop_the_captor_shortly,
    stop_the_node,
    kill_the_node,
    end_the_node,
    pause_redis,
)
Trouble = Callable[[Cluster, str], None]


def check(redis: RedisServer, rounds: list[Trouble]) -> None:
    with cluster(redis) as both:
        for stream in "xy":
            wait_until(lambda stream=stream: both.numbers(stream), MOVED_S, "events flow")
        first = {stream: min(both.numbers(stream)) for stream in "xy"}
        for trouble in rounds:
            trouble(both, random.choice("xy"))
            wait_until(both.flows, MOVED_S, f"every stream is captured after {trouble.__name__}")
            assert max(both.platform.most.values()) == 1, trouble
        then = len(both.platform.published)
        for stream in "xy":
            wait_until(lambda stream=stream: max(both.numbers(stream)) > then, MOVED_S, "events flow")
        both.platform.end()
        for stream in "xy":
            # either node may still have messages in hand
            with suppress(AssertionError):
                wait_until(lambda stream=stream: both.lost(stream, first[stream]) == [], MOVED_S)
            assert both.lost(stream, first[stream]) == []
            assert [n for n, count in both.numbers(stream).items() if count != 1] == []
        assert both.platform.most == dict.fromkeys(CREDENTIALS.values(), 1)


@pytest.mark.timeout(400)
def test_a_credential_has_one_connection_through_every_trouble(own_redis: RedisServer) -> None:
    check(own_redis, list(TROUBLES))


def captured(root: Path, redis: Redis, namespace: str, platform: Platform, name: str = "n1") -> Captured:
    """Return a stream of a pool of two, in this process."""
    pool = {name: CredentialSettings(token=token, pool="p") for name, token in CREDENTIALS.items()}
    leases = Leases(redis, Keys(namespace), f"{name}:stream_s_0")
    return Captured(root, pool=pool, leases=leases, type="ndjson", url=f"{platform.url}/x")


def test_where_a_credential_of_a_pool_is_refused_the_next_one_is_taken(
    tmp_path: Path, redis_client: Redis, namespace: str
) -> None:
    with Platform() as platform:
        platform.refused = {"token-1"}
        with captured(tmp_path, redis_client, namespace, platform) as stream:
            stream.until(lambda: stream.events)
            assert ("credential_refused", "one") in stream.context.reports

    assert platform.most == {"token-2": 1}


def test_a_credential_that_was_refused_stays_the_cause_while_the_next_one_is_waited_for(
    tmp_path: Path, redis_client: Redis, namespace: str
) -> None:
    other = Leases(redis_client, Keys(namespace), "n2:stream_t_0")
    taken = other.take("credentials p", ["two"], 60.0)
    with Platform() as platform:
        platform.refused = {"token-1"}
        with captured(tmp_path, redis_client, namespace, platform) as stream:
            stream.until(lambda: stream.context.notes.get("connection") == "waits: no credential of p is free")
            other.give(*taken)
            stream.until(stream.has_gaps)

    assert [gap["cause"] for gap in stream.gaps] == ["refused"]


def test_a_stream_that_ends_leaves_nothing_to_wait_for(tmp_path: Path, redis_client: Redis, namespace: str) -> None:
    with Platform() as platform, ExitStack() as running:
        first = captured(tmp_path / "1", redis_client, namespace, platform, "n1")
        second = captured(tmp_path / "2", redis_client, namespace, platform, "n2")
        running.enter_context(first)
        first.until(lambda: first.events)
        with second:
            second.until(lambda: second.context.notes.get("connection") == "waits: another node captures it")
            assert platform.open("/x") == 1
            running.close()
            second.until(lambda: second.events)

    assert [gap["cause"] for gap in second.gaps] == ["no_lease"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pool = q", "no section [credential_NAME] says pool = q"),
        ("pool = p\ncredential = one", "pool: not beside credential"),
        ("pool = p\nrules = x:0", "pool: not beside rules: X keeps rules with the application of one credential"),
        ("", "credential: missing; type = x_v2 answers nobody without one"),
    ],
)
def test_what_a_stream_says_of_its_credential_is_checked(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "loglines.cfg"
    stream = f"[stream_x]\ntype = x_v2\npushto = events\n{text}\n"
    file.write_text(f"[redis]\nurl = redis://127.0.0.1:1\n[credential_one]\nbearer_token = t\npool = p\n{stream}")

    with pytest.raises(ConfigError) as raised:
        load(file, tmp_path)

    assert words in str(raised.value)


@pytest.mark.timeout(200)
def test_a_credential_without_a_pool_has_one_connection_too_and_health_says_who_waits(own_redis: RedisServer) -> None:
    with cluster(own_redis, ONE_CREDENTIAL) as both:
        wait_until(lambda: both.numbers("x"), MOVED_S, "events flow")
        captor = both.holder("x_v2/one", "credentials")
        assert captor is not None
        [other] = [node for node in both.nodes.values() if node is not captor]

        wait_until(lambda: "no_credential_free" in codes(other), MOVED_S, "health says that a stream waits")
        assert other.worker("stream_x_0")["note:connection"] == "waits: its credential is in use elsewhere"
        captor.kill_all()
        wait_until(lambda: other.worker("stream_x_0")["note:connection"].startswith("since"), MOVED_S, "the other")

        wait_until(lambda: "no_credential_free" not in codes(other), MOVED_S, "health says nothing more")
        wait_until(lambda: [gap["cause"] for gap in both.gaps("x")] == ["no_lease"], MOVED_S, "the wait is a gap")
        assert sum(both.platform.opened.values()) == 2
        assert both.platform.most == {"token-1": 1}


def codes(node: Node) -> list[str]:
    return [found["code"] for found in node.json("health")["findings"] if "stream_x" in found["text"] + found["about"]]


@pytest.mark.long
@pytest.mark.timeout(4000)
def test_a_hundred_troubles(own_redis: RedisServer) -> None:
    check(own_redis, [random.choice(TROUBLES) for _ in range(100)])
