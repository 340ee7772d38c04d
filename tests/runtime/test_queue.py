"""Claim and commit: what they move, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.errors import Superseded
from aggregator.runtime.batch import Batch, Position
from aggregator.runtime.contract import Send
from aggregator.runtime.message import History
from tests.runtime.desk import Desk, bodies, forward, raws
from tests.servers import wait_until


def test_a_claim_takes_what_is_there_up_to_the_wanted_number_in_order(desk: Desk) -> None:
    desk.push("in", *bodies(5))
    worker = desk.worker()

    first = worker.claim(0, 3)

    assert raws(first.messages) == bodies(5)[:3]
    assert desk.waiting("in") == bodies(5)[3:]


@pytest.mark.parametrize("sizes", [(5000, 5000, 5000), (5000, 1, 5000), (1, 5000, 1)], ids=str)
def test_large_messages_are_taken_in_order_behind_what_was_caught(desk: Desk, sizes: tuple[int, ...]) -> None:
    large = [b'{"n":%d,"x":"%s"}' % (n, b"x" * size) for n, size in enumerate(sizes)]
    desk.push("in", large[0])
    worker = desk.worker()
    worker.wait(1)
    desk.push("in", *large[1:], *large)

    first = worker.claim(0, 2)
    again, more = worker.claim(0, 2), worker.claim(2, 100)

    assert raws(first.messages) == raws(again.messages) == large[:2]
    assert raws(more.messages) == [*large[2:], *large]
    assert (desk.books().in_, desk.waiting("in")) == (6, [])


def test_a_repeated_claim_returns_what_the_lost_reply_held(desk: Desk) -> None:
    desk.push("in", *bodies(5))
    worker = desk.worker()
    worker.claim(0, 3)

    again = worker.claim(0, 3)

    assert raws(again.messages) == bodies(3)
    assert desk.books().in_ == 3


def test_a_claim_beside_messages_in_hand_takes_others(desk: Desk) -> None:
    desk.push("in", *bodies(5))
    worker = desk.worker()
    worker.claim(0, 2)

    assert raws(worker.claim(2, 2).messages) == bodies(5)[2:4]


def test_a_commit_moves_results_and_frees_the_messages_in_one_step(desk: Desk) -> None:
    desk.push("in", *bodies(3))
    worker = desk.worker()
    claim = worker.claim(0, 10)

    worker.commit(forward(claim.messages, "a", "b"), prefix=True)

    assert desk.waiting("a") == desk.waiting("b") == bodies(3)
    books = desk.books()
    assert (books.in_, books.out, books.in_flight) == (3, 3, 0)
    assert books.balanced


def test_a_repeated_commit_has_no_second_effect(desk: Desk) -> None:
    desk.push("in", *bodies(3))
    worker = desk.worker()
    batch = forward(worker.claim(0, 10).messages, "out")
    worker.commit(batch, prefix=True)

    worker.number -= 1  # as if the reply had been lost
    worker.commit(batch, prefix=True)

    assert desk.waiting("out") == bodies(3)
    assert desk.books().out == 3


def test_part_of_a_batch_commits_alone(desk: Desk) -> None:
    desk.push("in", *bodies(3))
    worker = desk.worker()
    messages = worker.claim(0, 10).messages

    worker.commit(forward(messages[1:2], "out"), prefix=False)

    assert desk.waiting("out") == bodies(3)[1:2]
    assert raws(worker.claim(0, 10).messages) == [bodies(3)[0], bodies(3)[2]]


def test_a_superseded_worker_can_neither_commit_nor_claim(desk: Desk) -> None:
    desk.push("in", *bodies(3))
    zombie = desk.worker()
    messages = zombie.claim(0, 1).messages
    heir = desk.worker()
    inherited = heir.claim(0, 1).messages  # as many as the zombie had, and the same batch number is next

    with pytest.raises(Superseded):
        zombie.commit(forward(messages, "out"), prefix=True)
    with pytest.raises(Superseded):
        zombie.claim(0, 2)
    with pytest.raises(Superseded):
        zombie.beat({"state": "idle"})

    assert desk.waiting("out") == []
    assert zombie.leave() == 0
    heir.commit(forward(inherited, "out"), prefix=True)
    assert desk.waiting("out") == bodies(1)
    assert desk.books().balanced


def test_what_an_earlier_incarnation_held_comes_first_and_one_at_a_time(desk: Desk) -> None:
    desk.push("in", *bodies(5))
    desk.worker().claim(0, 3)

    heir = desk.worker()
    claim = heir.claim(0, 10)

    assert claim.alone
    assert raws(claim.messages) == bodies(1)
    assert claim.messages[0].history is not None
    assert claim.messages[0].history.deliveries == 1
    heir.commit(forward(claim.messages, "out"), prefix=True)
    assert raws(heir.claim(0, 10).messages) == bodies(5)[1:2]


def test_a_stage_may_let_the_first_loss_of_a_worker_pass(desk: Desk) -> None:
    desk.push("in", *bodies(3))
    desk.worker(alone_from=2).claim(0, 2)

    again = desk.worker(alone_from=2).claim(0, 10)
    last = desk.worker(alone_from=2).claim(0, 10)

    assert (again.alone, raws(again.messages)) == (False, bodies(2))
    assert (last.alone, raws(last.messages)) == (True, bodies(1))


def test_a_suspect_waits_until_the_worker_has_nothing_else_in_flight(desk: Desk) -> None:
    desk.push("in", *bodies(1))
    desk.worker(number=1).claim(0, 1)
    worker = desk.worker(number=2)
    desk.push("in", *bodies(3)[1:])
    busy = worker.claim(0, 1)

    desk.worker(number=1)  # puts its message back

    assert worker.claim(1, 10).messages == []
    worker.commit(forward(busy.messages, "out"), prefix=True)
    assert raws(worker.claim(0, 10).messages) == bodies(1)


def test_what_was_caught_while_waiting_is_claimed_even_by_a_later_incarnation(desk: Desk) -> None:
    zombie = desk.worker()
    desk.push("in", *bodies(2))
    zombie.wait(1)

    heir = desk.worker()

    assert raws(heir.claim(0, 10).messages) == bodies(2)
    assert desk.books().balanced


def test_what_a_zombie_catches_late_is_found_by_the_heir(desk: Desk) -> None:
    zombie, heir = desk.worker(), desk.worker()
    desk.push("in", *bodies(1))

    zombie.wait(1)

    assert desk.waiting("in") == []
    assert raws(heir.claim(0, 10).messages) == bodies(1)


def test_a_silent_worker_is_recovered_by_a_sibling_and_fenced(desk: Desk) -> None:
    desk.push("in", *bodies(2))
    silent, sibling = desk.worker(number=1), desk.worker(number=2)
    held = silent.claim(0, 1).messages
    silent.wait(1)
    [seen] = sibling.beat({"state": "idle"})

    assert sibling.recover(seen) == 1

    assert raws(sibling.claim(0, 1).messages) == bodies(1)
    with pytest.raises(Superseded):
        silent.commit(forward(held, "out"), prefix=True)
    assert desk.books().balanced


def test_a_worker_that_shows_life_is_not_recovered(desk: Desk) -> None:
    desk.push("in", *bodies(1))
    alive, sibling = desk.worker(number=1), desk.worker(number=2)
    held = alive.claim(0, 1).messages
    [seen] = sibling.beat({"state": "idle"})
    alive.beat({"state": "busy"})

    assert sibling.recover(seen) == -1

    alive.commit(forward(held, "out"), prefix=True)
    assert desk.waiting("out") == bodies(1)


def test_leaving_puts_back_what_was_not_handled_without_blame(desk: Desk) -> None:
    desk.push("in", *bodies(3))
    worker = desk.worker()
    worker.claim(0, 2)

    assert worker.leave() == 2

    claim = desk.worker().claim(0, 10)
    assert raws(claim.messages) == bodies(2)
    assert all(message.history is None for message in claim.messages)


def test_a_retry_waits_its_time_and_comes_back_with_its_history(desk: Desk) -> None:
    desk.push("in", *bodies(2))
    worker = desk.worker()
    soon, late = worker.claim(0, 2).messages
    batch = Batch()
    batch.retry(soon, History(attempts=1, first=5.0, error="no answer"), 0.2)
    batch.retry(late, History(attempts=1), 600.0)
    worker.commit(batch, prefix=True)

    assert desk.books().delayed == 2
    assert desk.books().balanced
    back: list[Any] = []
    wait_until(lambda: back.extend(worker.claim(0, 2).messages) or back)
    early = worker.claim(1, 1)

    assert early.messages == []
    assert early.due_s is not None and 0 < early.due_s <= 600
    assert back[0].raw == bodies(1)[0]
    assert (back[0].history.attempts, back[0].history.error) == (1, "no answer")


def test_a_claim_never_says_that_what_it_did_not_bring_is_due(desk: Desk) -> None:
    desk.push("in", *bodies(1))
    worker = desk.worker()
    [message] = worker.claim(0, 1).messages
    batch = Batch()
    batch.handled(message, [Send("later", body, delay_s=n / 1000) for n, body in enumerate(bodies(300))])
    batch.close()
    worker.commit(batch, prefix=True)

    consumer = desk.worker("later", number=7)
    known = 0
    while known < 300:
        claim = consumer.claim(known, 1)
        known += len(claim.messages)
        assert claim.messages or (claim.due_s is not None and claim.due_s > 0)


def test_equal_messages_that_wait_stay_as_many_as_they_are(desk: Desk) -> None:
    desk.push("in", *bodies(1) * 3)
    worker = desk.worker()
    batch = Batch()
    for message in worker.claim(0, 3).messages:
        batch.retry(message, History(attempts=1), 60)
    worker.commit(batch, prefix=True)

    assert desk.books().delayed == 3


def test_a_delayed_send_is_in_the_care_of_its_consumer(desk: Desk) -> None:
    desk.push("in", *bodies(1))
    worker = desk.worker()
    [message] = worker.claim(0, 1).messages
    batch = Batch()
    batch.handled(message, [Send("later", b'{"later":1}', delay_s=0.05)])
    batch.close()
    worker.commit(batch, prefix=True)

    consumer = desk.worker("later", number=7)
    taken: list[Any] = []
    wait_until(lambda: taken.extend(consumer.claim(0, 1).messages) or taken)

    assert taken[0].raw == b'{"later":1}'
    consumer.commit(forward(taken), prefix=True)
    assert desk.books("later").in_ == 1
    assert desk.books("later").balanced


@pytest.mark.parametrize("where", ["ready", "delayed", "returned"])
def test_a_full_target_holds_its_producer_back_wherever_its_messages_wait(desk: Desk, where: str) -> None:
    consumer = desk.worker("out", number=9)
    desk.push("out", *bodies(2))
    if where != "ready":
        batch = Batch()
        for message in consumer.claim(0, 2).messages:
            batch.retry(message, History(attempts=1), 0.0 if where == "returned" else 60.0)
        consumer.commit(batch, prefix=True)
    desk.push("in", *bodies(1))
    producer = desk.worker(limits={"out": 2})

    claim = producer.claim(0, 1)

    assert (claim.messages, claim.full) == ([], "out")
    assert producer.room() == "out"


def test_a_source_sends_and_stores_its_position_together(desk: Desk) -> None:
    source = desk.worker(None)
    batch = Batch()
    batch.send(Send("out", b"{}"))
    batch.cursors = [Position("file", "", "10")]

    source.commit(batch, prefix=False)

    assert desk.waiting("out") == [b"{}"]
    assert source.cursors() == {"file": "10"}


def test_a_source_that_starts_from_another_position_sends_nothing(desk: Desk) -> None:
    source = desk.worker(None)
    batch = Batch()
    batch.send(Send("out", b"{}"))
    batch.cursors = [Position("file", "elsewhere", "10")]

    with pytest.raises(Superseded, match="file"):
        source.commit(batch, prefix=False)

    assert desk.waiting("out") == []


def test_tokens_grow_even_when_redis_has_forgotten_them(desk: Desk) -> None:
    old = desk.worker()
    desk.client.delete(desk.keys.worker("node:stage_0"))

    heir = desk.worker()

    assert int(heir.token) > int(old.token)
    with pytest.raises(Superseded):
        old.claim(0, 1)


def test_a_redis_that_came_back_older_is_noticed_at_the_next_call(desk: Desk) -> None:
    desk.push("in", *bodies(3))
    worker = desk.worker()
    worker.commit(forward(worker.claim(0, 1).messages, "out"), prefix=True)
    held = worker.claim(0, 1).messages
    desk.client.hset(desk.keys.worker("node:stage_0"), "batch", 0)  # what it knew before the commit

    with pytest.raises(Superseded, match="older"):
        worker.claim(1, 1)
    with pytest.raises(Superseded, match="older"):
        worker.commit(forward(held, "out"), prefix=True)


def test_a_commit_of_messages_that_redis_no_longer_holds_is_refused(desk: Desk) -> None:
    desk.push("in", *bodies(1))
    worker = desk.worker()
    held = worker.claim(0, 1).messages
    desk.client.delete(desk.keys.held("node:stage_0"))

    with pytest.raises(Superseded, match="older"):
        worker.commit(forward(held, "out"), prefix=True)

    assert desk.waiting("out") == []


def test_a_batch_larger_than_luas_stack_goes_through(desk: Desk) -> None:
    many = bodies(5000)
    for start in range(0, 5000, 1000):
        desk.push("in", *many[start : start + 1000])
    worker = desk.worker()

    claim = worker.claim(0, 5000)
    worker.commit(forward(claim.messages, "a", "b"), prefix=True)

    assert desk.waiting("b") == many


def test_a_body_that_looks_like_a_history_but_is_none_is_kept_as_it_is(desk: Desk) -> None:
    odd = [b"!not json\n{}", b"!{}", b'!{"id":"x"}\nrest']
    desk.push("in", *odd)
    desk.worker().claim(0, 10)

    heir = desk.worker()
    seen = []
    for _ in odd:
        claim = heir.claim(0, 10)
        seen += raws(claim.messages)
        heir.commit(forward(claim.messages), prefix=True)

    assert seen == odd
    assert desk.books().balanced


def test_what_was_held_returns_to_the_queue_it_came_from_when_the_section_reads_another(desk: Desk) -> None:
    desk.push("in", *bodies(2))
    killed = desk.worker("in")
    killed.claim(0, 1)
    killed.wait(1)

    desk.worker("elsewhere")

    other = desk.worker("in", number=1)
    assert raws(other.claim(0, 1).messages) == bodies(1)
    assert desk.waiting("in") == bodies(2)[1:]
    assert other.beat({}) == []
    assert desk.books("in").balanced and desk.books("elsewhere").balanced


def test_the_age_of_the_oldest_message_is_known_without_marking_it(desk: Desk) -> None:
    worker = desk.worker()
    desk.push("in", *bodies(2))
    desk.books()
    wait_until(lambda: desk.books().oldest_age_s >= 2)

    pushed = desk.client.time()[0]
    desk.push("in", *bodies(1))
    worker.commit(forward(worker.claim(0, 2).messages), prefix=True)

    assert desk.books().oldest_age_s <= desk.client.time()[0] + 1 - pushed
    worker.commit(forward(worker.claim(0, 1).messages), prefix=True)
    assert desk.books().oldest_age_s == 0


def test_messages_that_vanish_from_a_queue_unbalance_the_books(desk: Desk) -> None:
    desk.push("in", *bodies(2))
    worker = desk.worker()
    worker.commit(forward(worker.claim(0, 2).messages, "out"), prefix=True)
    assert desk.books("out").balanced

    desk.client.lpop(desk.keys.queue("out"))

    assert not desk.books("out").balanced


def test_messages_that_vanish_in_flight_unbalance_the_books(desk: Desk) -> None:
    desk.push("in", *bodies(2))
    desk.worker().claim(0, 2)
    assert desk.books().balanced

    desk.client.lpop(desk.keys.held("node:stage_0"))

    assert desk.books().difference == 1


def test_a_turn_commits_and_claims_in_one_step(desk: Desk) -> None:
    desk.push("in", *bodies(5))
    worker = desk.worker()
    batch = forward(worker.claim(0, 2).messages, "a", "b")

    claim = worker.turn(batch, 2)

    assert desk.waiting("a") == desk.waiting("b") == bodies(2)
    assert raws(claim.messages) == bodies(5)[2:4]
    assert (desk.books().in_, desk.books().out, desk.books().in_flight) == (4, 2, 2)


def test_a_repeated_turn_returns_the_same_messages_and_has_no_second_effect(desk: Desk) -> None:
    desk.push("in", *bodies(5))
    worker = desk.worker()
    batch = forward(worker.claim(0, 2).messages, "out")
    first = worker.turn(batch, 2)

    worker.number -= 1  # as if the reply had been lost
    again = worker.turn(batch, 2)

    assert raws(again.messages) == raws(first.messages)
    assert desk.waiting("out") == bodies(2)
    assert desk.books().out == 2


def test_messages_that_go_on_unchanged_only_in_part_arrive_as_they_should(desk: Desk) -> None:
    desk.push("in", *bodies(3))
    worker = desk.worker()
    messages = worker.claim(0, 3).messages
    batch = Batch()
    batch.handled(messages[0], [Send("all", messages[0].raw), Send("twice", messages[0].raw), Send("odd", b"{}")])
    batch.handled(messages[1], [Send("all", messages[1].raw), Send("odd", messages[1].raw)])
    batch.handled(messages[2], [Send("all", messages[2].raw)] + [Send("twice", messages[2].raw)] * 2)
    batch.close()

    worker.turn(batch, 1)

    assert desk.waiting("all") == bodies(3)
    assert desk.waiting("twice") == [bodies(3)[0], bodies(3)[2], bodies(3)[2]]
    assert desk.waiting("odd") == [b"{}", bodies(3)[1]]
