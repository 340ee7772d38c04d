"""Dead letters: found, put back, let go; each step atomic and entered in the books."""

from __future__ import annotations

import pytest
from redis.client import Redis

from aggregator.runtime import deadletters
from aggregator.runtime.batch import Batch
from aggregator.runtime.message import History
from tests.runtime.desk import Desk, bodies, raws

ODD = b'{"text": "\\u0000 !{} \xff\n line"}'


@pytest.fixture
def desk(redis_client: Redis, namespace: str) -> Desk:
    return Desk(redis_client, namespace)


def kill(desk: Desk, *raws: bytes, queue: str = "in", reason: str = "bad", died: float = 1.0) -> None:
    """Set messages aside as a worker does, one second after the other."""
    desk.push(queue, *raws)
    worker = desk.worker(queue)
    batch = Batch()
    for number, message in enumerate(worker.claim(0, len(raws)).messages):
        batch.set_aside(message, History(attempts=3, error=reason, trace="Traceback", died=died + number))
    batch.close()
    worker.commit(batch, prefix=True)


def ids(desk: Desk, queue: str = "in") -> list[int]:
    return sorted(letter.id for letter in deadletters.scan(desk.client, desk.keys, queue))


def test_a_letter_keeps_its_body_and_says_why_it_died(desk: Desk) -> None:
    kill(desk, ODD, reason="not wanted")

    (letter,) = deadletters.scan(desk.client, desk.keys, "in")

    assert letter.raw == ODD
    assert (letter.queue, letter.history.attempts, letter.history.error) == ("in", 3, "not wanted")


def test_a_requeued_letter_is_claimed_again_as_if_never_tried_byte_for_byte(desk: Desk) -> None:
    kill(desk, ODD)

    done = deadletters.requeue(desk.client, desk.keys, "in", ids(desk))

    claim = desk.worker().claim(0, 10)
    assert done == 1
    assert raws(claim.messages) == [ODD]
    assert not claim.alone
    assert claim.messages[0].attempts == 0
    assert ids(desk) == []


def test_a_requeued_letter_can_fail_be_set_aside_and_be_requeued_again(desk: Desk) -> None:
    kill(desk, ODD)
    deadletters.requeue(desk.client, desk.keys, "in", ids(desk))
    worker = desk.worker()
    (message,) = worker.claim(0, 10).messages
    batch = Batch()
    batch.set_aside(message, History(id=message.history.id if message.history else 0, attempts=1, error="again"))
    batch.close()
    worker.commit(batch, prefix=True)

    deadletters.requeue(desk.client, desk.keys, "in", ids(desk))

    assert raws(desk.worker().claim(0, 10).messages) == [ODD]


def test_requeued_letters_keep_their_order_in_front_of_what_waits(desk: Desk) -> None:
    kill(desk, *bodies(3))
    desk.push("in", b'{"late":1}')

    deadletters.requeue(desk.client, desk.keys, "in", ids(desk))

    worker = desk.worker()
    first = worker.claim(0, 3)
    assert raws(first.messages) == bodies(3)


def test_the_books_balance_after_requeue_and_drop(desk: Desk) -> None:
    kill(desk, *bodies(5))
    first, second, *_ = ids(desk)

    deadletters.requeue(desk.client, desk.keys, "in", [first])
    deadletters.drop(desk.client, desk.keys, "in", [second])

    books = desk.books()
    assert (books.in_, books.delayed, books.dead, books.dropped) == (5, 1, 3, {"operator": 1})
    assert books.balanced


@pytest.mark.parametrize("change", [deadletters.requeue, deadletters.drop])
def test_a_change_has_no_second_effect(desk: Desk, change: deadletters.Change) -> None:
    kill(desk, *bodies(2))
    numbers = ids(desk)
    change(desk.client, desk.keys, "in", numbers)
    before = desk.books()

    again = change(desk.client, desk.keys, "in", [*numbers, 999_999])

    assert again == 0
    assert desk.books() == before


def test_thousands_of_letters_move_page_by_page(desk: Desk) -> None:
    kill(desk, *bodies(4_321))

    numbers = deadletters.matching(desk.client, desk.keys, "in", lambda letter: True, now=1e12)
    done = deadletters.requeue(desk.client, desk.keys, "in", numbers)

    assert done == 4_321
    assert desk.books().delayed == 4_321


def test_the_newest_letters_of_several_queues_come_first(desk: Desk) -> None:
    kill(desk, *bodies(3), queue="one", died=10)
    kill(desk, *bodies(3), queue="two", died=11)

    letters = deadletters.newest(desk.client, desk.keys, ["one", "two"], 3)

    assert [(letter.queue, letter.history.died) for letter in letters] == [("two", 13), ("two", 12), ("one", 12)]


def test_a_letter_is_found_by_its_id_in_whichever_queue(desk: Desk) -> None:
    kill(desk, *bodies(2), queue="one")
    kill(desk, ODD, queue="two")
    (number,) = ids(desk, "two")

    letter = deadletters.find(desk.client, desk.keys, ["one", "two"], number)

    assert letter is not None
    assert (letter.queue, letter.raw) == ("two", ODD)
    assert deadletters.find(desk.client, desk.keys, ["one"], number) is None


def test_letters_that_die_after_the_beginning_are_left_alone(desk: Desk) -> None:
    kill(desk, *bodies(3), died=100)

    found = deadletters.matching(desk.client, desk.keys, "in", lambda letter: True, now=101)

    assert len(list(found)) == 2


def test_only_wanted_letters_are_yielded(desk: Desk) -> None:
    kill(desk, *bodies(2), reason="timeout")
    kill(desk, *bodies(3), reason="404")

    found = deadletters.matching(desk.client, desk.keys, "in", lambda x: x.history.error == "404", now=1e12)

    assert len(list(found)) == 3


def test_queue_names_and_counts_are_known(desk: Desk) -> None:
    kill(desk, *bodies(2), queue="one")
    desk.worker("two")

    assert deadletters.queue_names(desk.client, desk.keys) == ["one", "two"]
    assert deadletters.count(desk.client, desk.keys, "one") == 2
