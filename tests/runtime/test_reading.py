"""What those see who only look at a state, and what an operator does to it by hand."""

from __future__ import annotations

import pytest
from redis.client import Redis

from aggregator.runtime.batch import Batch
from aggregator.runtime.byhand import forget_cursors, push, put_back_all
from aggregator.runtime.message import History, Message
from aggregator.runtime.reading import cursor_names, cursors_of, is_known, overdue, state_of, waiting
from tests.runtime.desk import Desk, bodies

OWNER = "node:stage"


@pytest.fixture
def desk(redis_client: Redis, namespace: str) -> Desk:
    return Desk(redis_client, namespace)


def fail_first(desk: Desk) -> Message:
    """Take two messages, have the first tried again in an hour, and put the second back. Returns the second."""
    worker = desk.worker()
    tried, returned = worker.claim(0, 2).messages
    batch = Batch()
    batch.retry(tried, History(attempts=1), 3600.0)
    batch.close()
    worker.commit(batch, prefix=True)
    put_back_all(desk.client, desk.keys, "in")
    return returned


def test_what_waits_is_seen_wherever_it_waits(desk: Desk) -> None:
    first, second, third = bodies(3)
    desk.push("in", first, second)
    returned = fail_first(desk)
    push(desk.client, desk.keys, "in", third)

    found = list(waiting(desk.client, desk.keys, "in"))

    assert [message.raw for message in found] == [first, second, third]
    assert found[0].attempts == 1
    assert returned.raw == second


def test_messages_in_hand_do_not_wait(desk: Desk) -> None:
    desk.push("in", *bodies(2))
    desk.worker().claim(0, 2)

    assert list(waiting(desk.client, desk.keys, "in")) == []


def test_what_is_due_and_what_came_back_wait_for_nothing_but_a_worker(desk: Desk) -> None:
    desk.push("in", *bodies(2))
    fail_first(desk)

    now = float(desk.client.time()[0])

    assert overdue(desk.client, desk.keys, "in", now) == (1, 0)
    assert overdue(desk.client, desk.keys, "in", now + 7200) == (2, 0)


def test_cursors_are_read_by_what_their_names_begin_with(desk: Desk) -> None:
    desk.client.hset(desk.keys.cursors(OWNER), mapping={"feed:a": "1", "feed:b": "2", "feed:c": "", "other": "3"})

    assert cursors_of(desk.client, desk.keys, OWNER, "feed:") == {"a": "1", "b": "2"}
    assert sorted(cursor_names(desk.client, desk.keys, OWNER)) == ["feed:a", "feed:b", "feed:c", "other"]
    assert forget_cursors(desk.client, desk.keys, OWNER) == 4
    assert cursors_of(desk.client, desk.keys, OWNER) == {}


def test_a_namespace_has_no_state_before_its_first_worker(desk: Desk) -> None:
    before = state_of(desk.client, desk.keys)
    desk.worker()
    after = state_of(desk.client, desk.keys)

    assert before == ("", None)
    assert after.id and after.began_at


def test_a_queue_that_was_never_used_is_not_known(desk: Desk) -> None:
    desk.worker("in")

    assert is_known(desk.client, desk.keys, "in")
    assert not is_known(desk.client, desk.keys, "out")
