"""Real workers of `compress` and `archive`, killed while they work: everything ends up in the store exactly once."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from aggregator.stores import open_store
from aggregator.stores.store import Store
from tests.feeds.bundles import HOUR
from tests.feeds.captures import subway_captures
from tests.feeds.machines import Machine, stored
from tests.feeds.stepping import failed, publish
from tests.servers import RedisServer
from tests.stores.servers import SeaweedFS

# a slow machine also has more to do: what arrives while it bundles makes another revision
pytestmark = pytest.mark.timeout(900)

FEEDS = ("nyct", "rss-1", "Ünïcode feed")


def produced(machine: Machine, hours: int, *, node_of: str = "") -> Iterator[list[dict[str, Any]]]:
    """Lay down publications hour by hour, and yield the messages of each feed and minute or so."""
    for hour in range(hours):
        for minute in range(0, 60, 5):
            at = HOUR + 3600 * hour + 60 * minute
            yield [publish(machine.root, at, f"{feed} {at}".encode(), feed=feed) for feed in FEEDS] + [
                failed(at + 60, feed=feed, node=machine.node) for feed in FEEDS
            ]


def pause() -> None:
    """Let the workers come to any point of their work before one is killed."""
    threading.Event().wait(random.uniform(0, 0.5))


def names(store: Store) -> Counter[str]:
    return Counter(member.name for contents in stored(store).values() for member in contents.publications)


@pytest.mark.parametrize("kind", ["directory"])
def test_workers_killed_at_any_instant_store_every_publication_and_tick_once(
    tmp_path: Path, redis_url: str, namespace: str, options: dict[str, Any], store: Store
) -> None:
    hours = 8
    with Machine(tmp_path / "here", redis_url, namespace, options, grace="50ms") as machine:
        machine.start()
        for messages in produced(machine, hours):
            machine.push(*messages)
            if random.random() < 0.3:
                pause()
                machine.kill_one()
        machine.wait_until_done(180)

    found = names(store)
    assert len(found) == hours * 12 * len(FEEDS) and set(found.values()) == {1}
    ticks = [
        (key, tick.planned_ms)
        for key, contents in stored(store).items() for manifest in contents.manifests for tick in manifest.ticks
    ]  # fmt: skip
    assert len(ticks) == len(set(ticks)) == hours * 24 * len(FEEDS)


def share(hour: int, node: str) -> Iterator[tuple[int, bytes]]:
    """Yield what one of two machines saw of an hour: most of it both, some only one, and once each other bytes."""
    for minute, (_, data) in enumerate(subway_captures()):
        at = HOUR + 3600 * hour + 60 * minute
        if minute == 11:
            yield at, data + node.encode()
        elif not (minute == 3 and node == "east") and not (minute == 5 and node == "west"):
            yield at, data


def collect_together(folder: Path, store: dict[str, Any], hours: int, *, kills: bool) -> None:
    """Let two machines with a Redis each archive the same hours at the same time."""
    with ExitStack() as stack:
        machines = []
        for node in ("east", "west"):
            redis = stack.enter_context(RedisServer(folder / f"redis-{node}"))
            machines.append(stack.enter_context(Machine(folder / node, redis.url, "feeds", store, grace="100ms")))
        for machine in machines:
            for hour in range(hours):
                for at, data in share(hour, machine.node):
                    machine.push(publish(machine.root, at, data, node=machine.node))
            machine.start()
        for machine in machines * (4 if kills else 0):
            pause()
            machine.kill_one()
        for machine in machines:
            machine.wait_until_done(180)


@pytest.mark.parametrize("kind", ["seaweedfs"])
def test_two_machines_that_archive_fifty_hours_at_once_make_the_union_and_the_same_bytes_each_time(
    tmp_path: Path, options: dict[str, Any], store: Store
) -> None:
    hours, rounds = 50, []
    for number, kills in enumerate((False, True)):
        collect_together(tmp_path / str(number), options, hours, kills=kills)
        rounds.append({info.key: store.get(info.key)[0] for info in store.list("feeds/")})
        if not number:
            for contents in stored(store).values():
                times = Counter(member.mtime % 3600 // 60 for member in contents.publications)
                assert times == Counter([*range(12), 11])
                assert [manifest.header.node for manifest in contents.manifests] == ["east", "west"]
            for key in rounds[0]:
                store.delete(key)

    assert len(rounds[0]) == hours
    assert rounds[0] == rounds[1]


def test_nothing_is_lost_when_redis_and_the_store_die_too(tmp_path: Path, own_redis: RedisServer) -> None:
    hours = 4
    with SeaweedFS(tmp_path / "seaweedfs") as server:
        options = server.options("kills")
        with Machine(tmp_path / "here", own_redis.url, "feeds", options, grace="50ms") as machine:
            machine.start()
            for number, messages in enumerate(produced(machine, hours)):
                machine.push(*messages)
                if number % 12 == 5:
                    own_redis.kill()
                    own_redis.start()
                elif number == 21:
                    server.kill()
                    pause()
                    machine.kill_one()
                    server.start()
            machine.wait_until_done(180)
        with closing(open_store(**options)) as store:
            found = names(store)

    assert len(found) == hours * 12 * len(FEEDS) and set(found.values()) == {1}
