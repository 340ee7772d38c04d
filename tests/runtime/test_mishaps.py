"""What must not bring a worker down, or lose or double a message: faulty stages, a broken Redis key, a full Redis."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError

from aggregator.errors import EXIT_AWAY, EXIT_CONFIG, Superseded
from aggregator.runtime.batch import Batch, Position
from aggregator.runtime.connection import AWAY, connect
from aggregator.runtime.contract import Send
from aggregator.runtime.message import History
from tests.runtime.conftest import Start
from tests.runtime.desk import Desk, beat, begun, bodies, forward, order, raws, state
from tests.servers import RedisServer, free_port, wait_until


@pytest.mark.parametrize("stage", ["Obedient", "ObedientThreads"])
@pytest.mark.parametrize("what", ["half", "never", "count-half", "exit"])
def test_a_message_whose_handling_is_faulty_sends_nothing_and_is_set_aside(
    desk: Desk, start: Start, stage: str, what: str
) -> None:
    desk.push("in", order(what), *bodies(3))

    process = start(stage, maxtries=2, retrydelay=0.05)

    wait_until(lambda: (desk.books().dead, desk.books().out) == (1, 3))
    assert desk.waiting("out") == bodies(3) or sorted(desk.waiting("out")) == bodies(3)
    assert desk.books().balanced
    assert process.poll() is None


def test_a_retry_whose_time_is_no_number_waits_as_usual(desk: Desk, start: Start) -> None:
    desk.push("in", b'{"do":"retry","delay_s":NaN}', *bodies(1))

    start(maxtries=2, retrydelay=0.05)

    wait_until(lambda: (desk.books().dead, desk.books().out) == (1, 1))
    assert desk.books().balanced


@pytest.mark.parametrize("stage", ["Obedient", "ObedientThreads"])
@pytest.mark.parametrize("pause", [True, False])
def test_what_a_stage_kept_is_there_at_the_next_try(desk: Desk, start: Start, stage: str, pause: bool) -> None:
    desk.push("in", order("keep", pause=pause), *bodies(3))

    start(stage)

    wait_until(lambda: desk.books().out == 4)
    assert sorted(desk.waiting("out")) == sorted([order("keep", pause=pause), *bodies(3)])
    assert desk.books().balanced


def test_what_a_stage_kept_outlives_a_killed_worker(desk: Desk) -> None:
    desk.push("in", *bodies(1))
    worker = desk.worker()
    batch = Batch()
    batch.put_back(worker.claim(0, 1).messages[0], 'a="ü/\\"'.encode().hex())
    worker.commit(batch, prefix=True)
    worker.claim(0, 1)

    [message] = desk.worker().claim(0, 1).messages

    assert message.history is not None
    assert (message.raw, message.kept, message.history.deliveries) == (bodies(1)[0], 'a="ü/\\"'.encode().hex(), 1)


def test_counters_may_be_counted_from_many_threads(desk: Desk, start: Start) -> None:
    desk.push("in", *[order("count", times=3000)] * 100)

    start("ObedientThreads")

    wait_until(lambda: len(desk.waiting("out")) == 100, 60)
    wait_until(lambda: sum(desk.books().counts.values()) >= 300_000)
    assert set(desk.books().counts.values()) == {600}


def test_a_note_of_odd_bytes_does_not_end_the_signs_of_life(desk: Desk, start: Start) -> None:
    desk.push("in", order("note"))
    start()
    wait_until(lambda: len(desk.waiting("out")) == 1)
    wait_until(lambda: state(desk) == "idle")

    since = beat(desk)
    wait_until(lambda: beat(desk) > since + 1)
    assert desk.client.hget(desk.keys.worker("node:stage_0"), "note:file") == b"caf\\udce9.log"


def test_signs_of_life_go_on_after_an_error_that_is_not_an_absence(desk: Desk, start: Start) -> None:
    start()
    wait_until(lambda: state(desk) == "idle")
    holders = desk.keys.holders("in")
    members = desk.client.smembers(holders)
    desk.client.delete(holders)
    desk.client.set(holders, "not a set")
    before = beat(desk)
    wait_until(lambda: beat(desk) > before)

    desk.client.delete(holders)
    desk.client.sadd(holders, *members)

    since = beat(desk)
    wait_until(lambda: beat(desk) > since + 1)
    assert state(desk) == "idle"


def test_an_orphan_keeps_its_message_until_it_is_done(
    desk: Desk, start: Start, redis_url: str, namespace: str, tmp_path: Path
) -> None:
    desk.push("in", order("hold", n=0))
    parent = start(wrap=[sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])"], lease_s=6.0)
    wait_until(lambda: begun(tmp_path) == 1)
    start(number=1, lease_s=6.0)
    wait_until(lambda: state(desk, 1) == "idle")

    parent.kill()
    since = beat(desk, 1)
    # at two a second the sibling has watched for longer than a lease
    wait_until(lambda: beat(desk, 1) > since + 14, 60)
    (tmp_path / "go").touch()

    wait_until(lambda: desk.books().out == 1)
    assert b"recovered" not in (tmp_path / "worker_1.log").read_bytes()
    assert len(desk.waiting("out")) == 1


def test_threads_that_wait_for_room_do_not_spin(desk: Desk, start: Start, tmp_path: Path) -> None:
    desk.push("out", *bodies(5))
    desk.push("in", order("retry"), order("hold", n=0))
    start("ObedientThreads", limit=7, maxtries=10**6)
    wait_until(lambda: begun(tmp_path) == 1 and desk.books().delayed == 1)
    desk.push("out", *bodies(10))
    wait_until(lambda: state(desk) == "held back")
    before, since = desk.client.info("commandstats")["cmdstat_evalsha"]["calls"], beat(desk)

    wait_until(lambda: beat(desk) > since + 4)

    # some two seconds of looking five times each; a loop without a pause makes thousands
    assert desk.client.info("commandstats")["cmdstat_evalsha"]["calls"] - before < 1000
    (tmp_path / "go").touch()
    wait_until(lambda: desk.books().out == 1)


def test_sigterm_returns_what_no_thread_has_begun(desk: Desk, start: Start, tmp_path: Path) -> None:
    desk.push("in", *[order("hold", n=n) for n in range(8)])
    process = start("ObedientThreads", concurrency=4)
    wait_until(lambda: begun(tmp_path) == 4 and desk.books().in_flight == 8)

    process.terminate()
    wait_until(lambda: desk.books().delayed == 4)
    (tmp_path / "go").touch()

    assert process.wait(timeout=60) == 0
    assert (len(desk.waiting("out")), desk.books().delayed) == (4, 4)
    assert desk.books().balanced


def test_a_source_that_cannot_go_on_is_asked_again_and_loses_nothing(desk: Desk, start: Start, tmp_path: Path) -> None:
    start("Hesitant", batch=7)
    wait_until(lambda: state(desk) == "waiting")
    assert desk.client.hget(desk.keys.worker("node:stage_0"), "reason") == b"the file is not there"

    (tmp_path / "limit").touch()

    wait_until(lambda: len(desk.waiting("out")) == 20)
    assert desk.waiting("out") == [body for n, body in enumerate(bodies(30)) if n % 3]
    wait_until(lambda: desk.books("node:stage_0").dropped == {"third": 10})
    assert (desk.books("node:stage_0").in_, desk.books("node:stage_0").balanced) == (30, True)


def test_a_cluster_that_is_away_is_waited_for_and_then_given_up(start: Start) -> None:
    process = start(url=f"cluster://127.0.0.1:{free_port()}", patience_s=0.5)

    assert process.wait(timeout=60) == EXIT_AWAY


def test_a_database_that_is_not_there_is_a_fault_of_the_configuration(own_redis: RedisServer, start: Start) -> None:
    process = start(url=f"{own_redis.url}?db=99")

    assert process.wait(timeout=60) == EXIT_CONFIG


@pytest.mark.parametrize("key", ["queue:out", "books:in", "delayed:out", "dead:in", "returned:in", "flow:out"])
def test_a_key_that_somebody_made_another_type_stops_the_worker_before_anything_is_moved(desk: Desk, key: str) -> None:
    desk.push("in", *bodies(3))
    worker = desk.worker()
    messages = worker.claim(0, 3).messages
    desk.client.delete(desk.keys.prefix + key)
    desk.client.set(desk.keys.prefix + key, "oops")

    with pytest.raises(AWAY, match=f"MISTYPED.*{key}"):
        worker.turn(forward(messages, "out"), 3)

    desk.client.delete(desk.keys.prefix + key)
    assert raws(worker.claim(0, 3).messages) == bodies(3)
    worker.turn(forward(messages, "out"), 3)
    assert desk.waiting("out") == bodies(3)


def test_a_commit_of_messages_whose_claim_redis_has_forgotten_is_refused(own_redis: RedisServer) -> None:
    with connect(own_redis.url) as client:
        desk = Desk(client, "n")
        desk.push("in", *bodies(3))
        worker = desk.worker()
        worker.claim(0, 1)
        earlier = own_redis.snapshot()
        lost = worker.claim(1, 1).messages
        own_redis.kill()
        own_redis.restore(earlier)
        own_redis.start()
        wait_until(lambda: _answers(client))

        with pytest.raises(Superseded, match="older"):
            worker.commit(forward(lost, "out"), prefix=False)

        assert desk.waiting("in") == bodies(3)[1:]
        assert desk.waiting("out") == []


def test_of_equal_messages_in_flight_one_commit_takes_one(desk: Desk) -> None:
    desk.push("in", *bodies(1) * 3)
    worker = desk.worker()
    messages = worker.claim(0, 3).messages

    worker.commit(forward(messages[:1], "out"), prefix=False)

    assert desk.books().in_flight == 2
    worker.commit(forward(messages[1:], "out"), prefix=False)
    assert desk.waiting("out") == bodies(1) * 3
    with pytest.raises(Superseded, match="older"):
        worker.commit(forward(messages[:1], "out"), prefix=False)


def test_a_repeated_claim_of_a_suspect_is_alone_again(desk: Desk) -> None:
    desk.push("in", *bodies(1))
    desk.worker().claim(0, 1)
    worker = desk.worker()
    desk.push("in", *bodies(3)[1:])

    first, again = worker.claim(0, 8), worker.claim(0, 8)

    assert (first.alone, again.alone, raws(again.messages)) == (True, True, bodies(1))


def test_what_a_zombie_catches_late_stays_in_its_own_queue(desk: Desk) -> None:
    zombie = desk.worker("in")
    desk.worker("other")
    desk.push("in", *bodies(1))
    zombie.wait(0.1)

    assert desk.worker("other").claim(0, 5).messages == []
    assert raws(desk.worker("in").claim(0, 5).messages) == bodies(1)


def test_notes_of_an_earlier_incarnation_are_gone(desk: Desk) -> None:
    desk.worker().beat({"note:breaker": "open"})

    desk.worker()

    assert desk.client.hget(desk.keys.worker("node:stage_0"), "note:breaker") is None


def test_a_cursor_can_be_forgotten(desk: Desk) -> None:
    source = desk.worker(None)
    for expected, value in (("", "10"), ("10", None)):
        batch = Batch()
        batch.cursors = [Position("file", expected, value)]
        source.commit(batch, prefix=False)

    assert source.cursors() == {}


def test_leaving_returns_everything_in_its_old_order(desk: Desk) -> None:
    desk.push("in", *bodies(6))
    worker = desk.worker()
    worker.claim(0, 3)
    worker.wait(0.1)
    worker.wait(0.1)

    worker.leave()

    heir = desk.worker()
    first = heir.claim(0, 10)
    assert raws(first.messages) == bodies(3)
    heir.commit(forward(first.messages, "out"), prefix=True)
    assert raws(heir.claim(0, 10).messages) == bodies(6)[3:]


def test_many_that_are_due_at_once_all_come_back_at_once(desk: Desk) -> None:
    desk.push("in", *bodies(5))
    worker = desk.worker()
    batch = Batch()
    for message in worker.claim(0, 5).messages:
        batch.retry(message, History(attempts=1), 0.05)
    worker.commit(batch, prefix=True)
    desk.client.zadd(desk.keys.delayed("in"), dict.fromkeys(desk.client.zrange(desk.keys.delayed("in"), 0, -1), 1.0))

    assert sorted(raws(worker.claim(0, 10).messages)) == bodies(5)


def test_a_message_sent_twice_to_one_queue_arrives_twice(desk: Desk) -> None:
    desk.push("in", *bodies(2))
    worker = desk.worker()
    batch = Batch()
    for message in worker.claim(0, 2).messages:
        batch.handled(message, [Send("out", message.raw), Send("out", message.raw)])
    batch.close()

    worker.commit(batch, prefix=True)

    assert desk.waiting("out") == [body for body in bodies(2) for _ in range(2)]


def test_a_recovered_worker_can_do_nothing_even_when_as_much_is_held_again(desk: Desk) -> None:
    desk.push("in", *bodies(2))
    silent, sibling = desk.worker(number=1), desk.worker(number=2)
    lost = silent.claim(0, 1).messages
    [seen] = sibling.beat({})
    sibling.recover(seen)
    # what Redis would hold had the recovered worker's claim come through
    desk.client.rpush(desk.keys.held("node:stage_1"), lost[0].entry)

    with pytest.raises(Superseded):
        silent.commit(forward(lost, "out"), prefix=True)
    with pytest.raises(Superseded):
        silent.claim(1, 1)


def test_a_full_redis_is_drained(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, connect(server.url) as client:
        desk = Desk(client, "n")
        worker = desk.worker()
        for size in (100_000, 1000, 10):
            desk.push("in", *[b'{"x":"%s"}' % (b"y" * size)] * 100)
        # a limit just above what is stored is passed, or not, by what Redis needs for its clients at the moment
        client.config_set("maxmemory", 1)
        with pytest.raises(OutOfMemoryError):
            client.set("more", "x" * 100_000)

        heir = desk.worker(number=1)
        claim = heir.claim(0, 100)
        heir.commit(forward(claim.messages[:50], "out"), prefix=True)
        heir.beat({"state": "idle"})
        assert desk.books().out == 50
        heir.leave()
        worker.wait(0.1)

        source = desk.worker(None, number=2)
        batch = Batch()
        batch.send(Send("out", b"{}"))
        with pytest.raises(AWAY):
            source.commit(batch, prefix=False)


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except AWAY:
        return False


def test_a_worker_that_was_stopped_itself_takes_no_sibling_for_dead(desk: Desk, start: Start, tmp_path: Path) -> None:
    desk.push("in", order("hold", n=0))
    busy = start(number=1, lease_s=6.0)
    wait_until(lambda: begun(tmp_path) == 1)
    watcher = start(number=2, lease_s=6.0)
    wait_until(lambda: state(desk, 2) == "idle")
    before = beat(desk, 1)

    watcher.send_signal(signal.SIGSTOP)
    # at two a second it was stopped for longer than a lease
    wait_until(lambda: beat(desk, 1) > before + 14, 60)
    since = beat(desk, 2)
    watcher.send_signal(signal.SIGCONT)
    wait_until(lambda: beat(desk, 2) > since + 1)
    (tmp_path / "go").touch()

    wait_until(lambda: desk.books().out == 1)
    assert busy.poll() is None and isinstance(busy, subprocess.Popen)
