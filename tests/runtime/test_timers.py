"""Timers: messages with a name that wait for their time apart from all others."""

from __future__ import annotations

from typing import Any

import pytest
import simplejson

from aggregator.runtime.batch import Batch
from aggregator.runtime.contract import Send
from aggregator.runtime.queue import Queue
from aggregator.runtime.residue import empty, residues
from aggregator.runtime.schedule import timer_key
from aggregator.runtime.succession import move
from aggregator.runtime.timers import pending
from tests.runtime.conftest import Start
from tests.runtime.desk import Desk, bodies
from tests.servers import wait_until


def send(desk: Desk, worker: Queue, *timers: Send) -> None:
    """Commit timers with one message."""
    desk.push("in", b"{}")
    [message] = worker.claim(0, 1).messages
    batch = Batch()
    batch.handled(message, timers)
    batch.close()
    worker.commit(batch, prefix=True)


def waiting(desk: Desk, queue: str = "later") -> dict[str, Any]:
    return {timer.name: simplejson.loads(timer.body) for timer in pending(desk.client, desk.keys, queue)}


def test_a_timer_becomes_a_message_once_it_is_due(desk: Desk) -> None:
    send(desk, desk.worker(), Send("later", {"n": 1}, 0.05, "a"), Send("later", {"n": 2}, 600.0, "b"))
    consumer = desk.worker("later", number=7)
    taken: list[Any] = []

    wait_until(lambda: taken.extend(consumer.claim(0, 5).messages) or taken)

    assert [message.body for message in taken] == [{"n": 1}]
    assert waiting(desk) == {"b": {"n": 2}}
    books = desk.books("later")
    assert (books.in_, books.pushed, books.timers, books.in_flight, books.balanced) == (1, 1, 1, 1, True)


def test_a_claim_says_when_the_next_timer_is_due(desk: Desk) -> None:
    send(desk, desk.worker(), Send("later", {"n": 1}, 300.0, "a"))

    due_s = desk.worker("later", number=7).claim(0, 1).due_s

    assert due_s is not None and 290 < due_s <= 300


def test_a_timer_replaces_the_one_that_waits_under_its_name(desk: Desk) -> None:
    worker = desk.worker()
    send(desk, worker, Send("later", {"n": 1}, 0.01, "a"))

    send(desk, worker, Send("later", {"n": 2}, 600.0, "a"), Send("later", {"n": 3}, 600.0, "b"))
    send(desk, worker, Send("later", {"n": 4}, 0.0, "b"))

    consumer = desk.worker("later", number=7)
    assert [message.body for message in consumer.claim(0, 5).messages] == [{"n": 4}]
    assert waiting(desk) == {"a": {"n": 2}}


def test_a_timer_is_cancelled_by_its_name(desk: Desk) -> None:
    worker = desk.worker()
    send(desk, worker, Send("later", {"n": 1}, 600.0, "a"), Send("later", {"n": 2}, 600.0, "b"))

    send(desk, worker, Send("later", None, key="a"), Send("later", None, key="never there"))

    assert waiting(desk) == {"b": {"n": 2}}


def test_of_two_timers_of_one_name_in_one_commit_the_last_counts(desk: Desk) -> None:
    send(desk, desk.worker(), Send("later", {"n": 1}, 600.0, "a"), Send("later", {"n": 2}, 600.0, "a"))

    assert waiting(desk) == {"a": {"n": 2}}


def test_a_timer_with_the_messages_own_bytes_makes_no_copy_of_what_is_sent_beside_it(desk: Desk) -> None:
    desk.push("in", b'{"n":1}')
    worker = desk.worker()
    [message] = worker.claim(0, 1).messages
    batch = Batch()
    batch.handled(message, [Send("out", message.raw, key="a"), Send("out", b'{"n":2}')])
    batch.close()

    worker.commit(batch, prefix=True)

    assert (desk.waiting("out"), waiting(desk, "out")) == ([b'{"n":2}'], {"a": {"n": 1}})


def test_a_message_without_a_body_needs_a_key(desk: Desk) -> None:
    with pytest.raises(ValueError, match="no key"):
        Batch().send(Send("later", None))


def test_timers_count_in_no_bound_but_what_they_have_become_does(desk: Desk) -> None:
    worker = desk.worker(limits={"later": 2})
    send(desk, worker, *(Send("later", {"n": n}, 600.0, f"t{n}") for n in range(1000)))
    desk.push("in", *bodies(1))
    assert (worker.room(), len(worker.claim(0, 1).messages)) == ("", 1)

    other = desk.worker(number=1, limits={"later": 2})
    send(desk, desk.worker(number=2), *(Send("later", {"n": n}, 0.0, f"t{n}") for n in range(3)))
    desk.worker("later", number=7).claim(0, 1)

    assert other.room() == "later"


def test_a_worker_wakes_for_a_timer_and_a_commit_that_fails_sets_none(desk: Desk, start: Start) -> None:
    start("Reminder")
    desk.push("in", b'{"name":"soon","delay_s":0.3,"n":1}', b'{"name":"never","delay_s":-1}')

    wait_until(lambda: desk.waiting("out") == [b'{"rings":"soon","n":1}'])

    assert waiting(desk, "in") == {}
    assert desk.books().balanced


def test_timers_move_with_their_queue_and_those_of_the_other_stay(desk: Desk) -> None:
    worker = desk.worker()
    timers = [Send("later", {"n": n}, 600.0, f"t{n}") for n in range(5000)]
    send(desk, worker, *timers, Send("other", {"n": -1}, 600.0, "t3"))

    assert move(desk.client, desk.keys, "later", "other") == 5000

    moved = waiting(desk, "other")
    assert (len(moved), moved["t4"], moved["t3"], waiting(desk)) == (5000, {"n": 4}, {"n": -1}, {})


def test_timers_are_residue_and_go_with_what_is_dropped(desk: Desk) -> None:
    send(desk, desk.worker(), Send("later", {"n": 1}, 600.0, "a"))
    assert [(residue.queue, residue.waiting) for residue in residues(desk.client, desk.keys)] == [("later", 1)]

    empty(desk.client, desk.keys, "later")

    assert waiting(desk) == {}


def test_what_a_dropped_timer_had_scheduled_begins_anew(desk: Desk) -> None:
    worker = desk.worker()
    send(desk, worker, Send("later", {"n": 1}, 600.0, timer_key("a", 7)), Send("later", {"n": 2}, 600.0, "b"))
    cursors = desk.keys.cursors("node:stage")
    desk.client.hset(cursors, mapping={"feed:a": "7 1000", "feed:b": "7 1000", "seen:a": "7", "feed:c": "8"})

    empty(desk.client, desk.keys, "later")

    assert sorted(desk.client.hkeys(cursors)) == [b"feed:b", b"feed:c"]


def test_timers_are_known_to_a_worker_while_nothing_else_is_under_way(desk: Desk) -> None:
    worker = desk.worker("later", number=1)
    send(desk, desk.worker(), Send("later", {"n": 1}, 600.0, "a"), Send("later", {"n": 2}, 600.0, "b"))
    assert worker.waiting_timers() == {"a", "b"}

    desk.push("later", b"{}")
    assert worker.waiting_timers() is None
    worker.claim(0, 1)
    assert worker.waiting_timers() is None
    worker.leave()
    assert worker.waiting_timers() is None


def test_a_timer_without_its_message_stops_nobody(desk: Desk) -> None:
    send(desk, desk.worker(), Send("later", {"n": 1}, 0.0, "a"))
    desk.client.zadd(desk.keys.timers("later"), {"lost": 1})

    assert [message.body for message in desk.worker("later", number=7).claim(0, 5).messages] == [{"n": 1}]
    assert waiting(desk) == {} and desk.client.zcard(desk.keys.timers("later")) == 0
