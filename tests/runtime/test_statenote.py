"""Which state of Redis an instance worked with last, and what is said when it is another or an older one."""

from __future__ import annotations

from pathlib import Path

from aggregator.runtime.connection import connect
from aggregator.runtime.context import Context
from aggregator.runtime.keys import Keys
from aggregator.runtime.queue import Identity, Queue
from aggregator.runtime.statenote import note_state, read_note
from tests.servers import RedisServer


def start(server: RedisServer, root: Path, namespace: str = "n") -> list[str]:
    """Start a worker as a process does, and return what it reports of the state."""
    with connect(server.url) as client:
        queue = Queue(client, Keys(namespace), Identity("stage", 0, "node"), "in")
        context = Context(section="stage", number=0, node="node", root=root, instance_id="i")
        noted = read_note(context)
        queue.start({})
        context.state_id = queue.state_id
        note_state(context, noted, queue.newest_before, queue.token)
    return [code for code, _ in context.reports]


def test_the_state_that_is_known_is_no_news(own_redis: RedisServer, tmp_path: Path) -> None:
    assert [start(own_redis, tmp_path) for _ in range(3)] == [[], [], []]


def test_another_namespace_is_told_once(own_redis: RedisServer, tmp_path: Path) -> None:
    start(own_redis, tmp_path)

    told = [start(own_redis, tmp_path, "other") for _ in range(2)]

    assert told == [["another_state"], []]


def test_a_redis_that_came_back_older_is_told_once(own_redis: RedisServer, tmp_path: Path) -> None:
    start(own_redis, tmp_path)
    older = own_redis.snapshot()
    start(own_redis, tmp_path)
    own_redis.stop()
    own_redis.restore(older)
    own_redis.start()

    told = [start(own_redis, tmp_path) for _ in range(2)]

    assert told == [["older_state"], []]


def test_a_note_of_an_earlier_version_says_nothing_of_age(own_redis: RedisServer, tmp_path: Path) -> None:
    start(own_redis, tmp_path)
    note = tmp_path / "data/state"
    note.write_text(note.read_text().split()[0] + "\n")

    assert start(own_redis, tmp_path) == []
