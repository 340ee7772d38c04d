"""Messages that begin as a message with a history does: whoever pushed them, they are text like any other."""

from __future__ import annotations

import pytest

from aggregator.runtime.message import read_entry
from tests.runtime.conftest import Start
from tests.runtime.desk import Desk, bodies, order
from tests.servers import wait_until

HOSTILE = [
    b'!{"id":-5}\n',
    b'!{"id":5,"id":-5}\n',
    b'!{"id":1,"error":"\xff"}\n{}',
    b'!{"id":1,"deliveries":"x"}\n{}',
    b'!{"id":1,"deliveries":99}\n{}',
    b'!{"id":1,"attempts":-1000000}\n{"do":"raise"}',
    b'!{"id":1e999}\n{}',
    b'!{"id":1,"first":nan}\n{}',
    b'!{"id":1,"strange":1e999}\n{}',
    b'!{"id":9007199254740993}\n{}',
    b"!" + b"[" * 200_000 + b"\n{}",
    b"!{}\n{}",
    b"!\n{}",
    b"!",
]


@pytest.mark.parametrize("large", [b"", b'{"n":"%s"}' % (b"x" * 2000)], ids=["small", "large"])
@pytest.mark.parametrize("stage", ["Obedient", "ObedientThreads"])
def test_they_are_set_aside_as_they_came_and_take_no_other_message_with_them(
    desk: Desk, start: Start, stage: str, large: bytes
) -> None:
    good = [body for body in (large, *bodies(20)) if body]
    desk.push("in", *good[:10], *HOSTILE, *good[10:])

    process = start(stage, maxtries=2, retrydelay=0.05)

    wait_until(lambda: (desk.books().dead, desk.books().out) == (len(HOSTILE), len(good)))
    assert sorted(desk.waiting("out")) == sorted(good)
    letters = [read_entry(letter) for letter in desk.client.hvals(desk.keys.dead("in"))]
    assert sorted(letter.raw for letter in letters) == sorted(HOSTILE)
    assert desk.books().balanced and process.poll() is None


@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_that_vanishes_with_them_stops_nobody(desk: Desk, start: Start, times: int) -> None:
    desk.push("in", *bodies(3), *HOSTILE)
    for _ in range(times):
        desk.worker().claim(0, 99)

    start()

    wait_until(lambda: (desk.books().dead, desk.books().out) == (len(HOSTILE), 3))
    assert desk.books().balanced


def test_a_letter_is_not_replaced_by_a_message_that_claims_its_id(desk: Desk, start: Start) -> None:
    desk.push("in", order("reject"))
    start()
    wait_until(lambda: desk.books().dead == 1)
    [number] = desk.client.hkeys(desk.keys.dead("in"))

    desk.push("in", b'!{"id":%s}\n{"do":"reject"}' % number)

    wait_until(lambda: desk.books().dead == 2)
    assert read_entry(desk.client.hget(desk.keys.dead("in"), number)).raw == order("reject")


def test_equal_messages_that_are_tried_again_stay_as_many_as_they_are(desk: Desk) -> None:
    desk.push("in", *[b'!{"id":7,"first":1}\n{}'] * 5)
    worker = desk.worker()

    taken = worker.claim(0, 9).messages

    assert [message.raw for message in taken] == [b'!{"id":7,"first":1}\n{}'] * 5
    assert [message.history.id for message in taken if message.history] == [0] * 5
