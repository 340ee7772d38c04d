"""The worker process: signals, retries, poison, zombies, orphans, back pressure, Redis away."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from aggregator.errors import EXIT_AWAY, EXIT_CONFIG
from aggregator.runtime.connection import connect
from tests.runtime.conftest import Start
from tests.runtime.desk import Desk, beat, begun, bodies, order, state
from tests.servers import RedisServer, alive, wait_until


def test_messages_go_through_and_the_books_balance(desk: Desk, start: Start) -> None:
    desk.push("in", *bodies(1000))

    start()

    wait_until(lambda: len(desk.waiting("out")) == 1000)
    assert desk.waiting("out") == bodies(1000)
    assert (desk.books().out, desk.books().balanced) == (1000, True)


def test_sigterm_ends_an_idle_worker_at_once_with_exit_code_0(desk: Desk, start: Start) -> None:
    process = start()
    wait_until(lambda: state(desk) == "idle")

    process.terminate()

    assert process.wait(timeout=60) == 0
    assert state(desk) == "stopped"


def test_sigterm_finishes_the_message_in_hand_and_returns_the_others_untouched(
    desk: Desk, start: Start, tmp_path: Path
) -> None:
    desk.push("in", order("hold", n=0), *bodies(5))
    process = start()
    wait_until(lambda: begun(tmp_path) == 1)

    process.terminate()
    (tmp_path / "go").touch()

    assert process.wait(timeout=60) == 0
    assert desk.waiting("out") == [order("hold", n=0)]
    books = desk.books()
    assert (books.out, books.in_flight, books.delayed, books.balanced) == (1, 0, 5, True)


def test_results_of_a_slow_batch_do_not_wait_for_its_end(desk: Desk, start: Start, tmp_path: Path) -> None:
    batch = [*[order("slow", seconds=0.6)] * 2, order("hold", n=0)]
    desk.push("in", *batch)

    start()

    wait_until(lambda: desk.waiting("out") == batch[:2])
    (tmp_path / "go").touch()
    wait_until(lambda: desk.waiting("out") == batch)
    assert desk.books().balanced


@pytest.mark.parametrize("stage", ["Obedient", "ObedientThreads"])
def test_each_failure_ends_where_it_should(desk: Desk, start: Start, stage: str) -> None:
    desk.push(
        "in", order("reject"), order("drop"), order("raise"), order("retry"), order("nonsense"), b"not json", b"[]"
    )
    desk.push("in", *bodies(3))

    start(stage, maxtries=2, retrydelay=0.05)

    def ends() -> tuple[int, int, int, int]:
        books = desk.books()
        return books.dead, books.out, books.in_flight, books.delayed

    # with threads, what was dropped at once may be committed behind what was tried twice
    wait_until(lambda: ends() == (6, 3, 0, 0))
    assert sorted(desk.waiting("out")) == bodies(3)
    assert desk.books().dropped == {"told_to": 1}
    assert desk.books().retried == 3
    assert desk.books().balanced
    letters = b"".join(desk.client.hvals(desk.keys.dead("in")))
    for words in (b"not wanted", b"come back", b"KeyError", b"not str", b"not JSON", b"not a JSON object"):
        assert words in letters
    assert b"Traceback" in letters


@pytest.mark.parametrize("stage", ["Obedient", "ObedientThreads"])
def test_a_message_that_kills_its_worker_is_set_aside_and_takes_no_other_with_it(
    desk: Desk, start: Start, stage: str
) -> None:
    desk.push("in", *bodies(3), order("die"), *bodies(3))
    lives = 0
    process = start(stage, maxdeliveries=3)
    while not desk.books().dead:
        if process.poll() is not None:
            lives += 1
            process = start(stage, maxdeliveries=3)
        wait_until(lambda: process.poll() is not None or desk.books().dead)  # noqa: B023

    wait_until(lambda: desk.books().out == 6)

    assert lives == 3
    assert sorted(desk.waiting("out")) == sorted(bodies(3) * 2)
    assert desk.books().balanced


def test_an_unavailable_neighbour_pauses_the_worker_which_holds_nothing_meanwhile(
    desk: Desk, start: Start, tmp_path: Path
) -> None:
    desk.push("in", order("wait-for-file", file=str(tmp_path / "there")), *bodies(2))
    start()
    wait_until(lambda: state(desk) == "paused" and desk.books().in_flight == 0)

    (tmp_path / "there").touch()

    wait_until(lambda: desk.books().out == 3)
    assert desk.books().retried == 0
    assert desk.waiting("out")[1:] == bodies(2)


def test_a_stopped_worker_is_replaced_by_its_sibling_and_has_no_second_effect(
    desk: Desk, start: Start, tmp_path: Path
) -> None:
    zombie = start(number=1)
    wait_until(lambda: state(desk, 1) == "idle")
    desk.push("in", order("hold", n=0), *bodies(50))
    wait_until(lambda: begun(tmp_path) == 1)
    zombie.send_signal(signal.SIGSTOP)
    (tmp_path / "go").touch()

    start(number=2)

    wait_until(lambda: desk.books().out == 51)
    zombie.send_signal(signal.SIGCONT)
    assert zombie.wait(timeout=60) == EXIT_AWAY
    assert sorted(desk.waiting("out")) == sorted([order("hold", n=0), *bodies(50)])
    assert desk.books().balanced


def test_a_live_worker_keeps_its_messages_however_long_it_takes(desk: Desk, start: Start, tmp_path: Path) -> None:
    desk.push("in", order("hold", n=0))
    start(number=1, lease_s=6.0)
    wait_until(lambda: begun(tmp_path) == 1)
    start(number=2, lease_s=6.0)
    # at two a second it has watched for longer than a lease
    wait_until(lambda: beat(desk, 2) > 14, 60)

    (tmp_path / "go").touch()
    wait_until(lambda: desk.books().out == 1)

    assert desk.client.hget(desk.keys.worker("node:stage_1"), "handled") is not None
    assert b"deliveries" not in b"".join(desk.waiting("out"))
    assert int(desk.client.hget(desk.keys.worker("node:stage_2"), "handled")) == 0


def test_a_worker_whose_supervisor_vanished_ends(desk: Desk, start: Start, tmp_path: Path) -> None:
    parent = start(wrap=[sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])"])
    wait_until(lambda: state(desk) == "idle")
    pid = int(desk.client.hget(desk.keys.worker("node:stage_0"), "pid"))

    parent.kill()

    wait_until(lambda: state(desk) == "stopped")
    wait_until(lambda: not alive(pid))
    assert b"supervisor is gone" in (tmp_path / "worker_0.log").read_bytes()


def test_a_full_target_holds_the_worker_back_and_status_says_why(desk: Desk, start: Start) -> None:
    desk.push("in", *bodies(500))

    start(limit=50, batch=10)

    wait_until(lambda: state(desk) == "held back")
    assert len(desk.waiting("out")) == 50
    reason = desk.client.hget(desk.keys.worker("node:stage_0"), "reason")
    assert reason == b"queue out is full"
    desk.client.delete(desk.keys.queue("out"))
    wait_until(lambda: len(desk.waiting("out")) == 50)


def test_a_source_sends_everything_once_over_kills_and_holds_back(desk: Desk, start: Start, tmp_path: Path) -> None:
    (tmp_path / "limit").write_text("2000")
    for _ in range(5):
        before = len(desk.waiting("out"))
        process = start("Counter", batch=10, idletime=0.05)
        wait_until(lambda: len(desk.waiting("out")) > before or before == 2000)  # noqa: B023
        process.kill()
        process.wait()

    start("Counter", batch=10)

    wait_until(lambda: len(desk.waiting("out")) == 2000)
    assert desk.waiting("out") == bodies(2000)
    assert desk.books("node:stage_0").balanced


def test_redis_away_for_a_while_costs_nothing(own_redis: RedisServer, namespace: str, start: Start) -> None:
    with connect(own_redis.url) as client:
        desk = Desk(client, namespace)
        start(url=own_redis.url)
        wait_until(lambda: state(desk) == "idle")
        desk.push("in", *bodies(5000))
        own_redis.kill()
        own_redis.start()

        wait_until(lambda: len(desk.waiting("out")) == 5000)
        assert desk.waiting("out") == bodies(5000)
        assert desk.books().balanced


def test_redis_away_for_too_long_ends_the_worker_with_its_own_exit_code(
    own_redis: RedisServer, namespace: str, start: Start
) -> None:
    with connect(own_redis.url) as client:
        desk = Desk(client, namespace)
        process = start(url=own_redis.url, patience_s=0.5)
        wait_until(lambda: state(desk) == "idle")

        own_redis.kill()

        assert process.wait(timeout=60) == EXIT_AWAY


def test_a_redis_that_comes_back_older_costs_a_file_sink_nothing(
    own_redis: RedisServer, namespace: str, start: Start, tmp_path: Path
) -> None:
    sink = tmp_path / "sink"
    with connect(own_redis.url) as client:
        desk = Desk(client, namespace)
        desk.push("in", *bodies(10))
        process = start("Sink", url=own_redis.url)
        wait_until(lambda: desk.books().out == 10)
        earlier = own_redis.snapshot()
        desk.push("in", *bodies(30)[10:])
        wait_until(lambda: desk.books().out == 30)

        own_redis.kill()
        own_redis.restore(earlier)
        own_redis.start()

        # Redis knows of 10 messages only: the worker must notice, and bring its file back in line.
        assert process.wait(timeout=60) == EXIT_AWAY
        start("Sink", url=own_redis.url)
        wait_until(lambda: sink.read_bytes().splitlines() == bodies(10))
        desk.push("in", *bodies(30)[10:])
        wait_until(lambda: desk.books().out == 30)
        assert sink.read_bytes().splitlines() == bodies(30)
        assert desk.books().balanced


def test_a_sink_writes_every_message_once_over_kills_at_any_instant(desk: Desk, start: Start, tmp_path: Path) -> None:
    total = 20000
    for at in range(0, total, 1000):
        desk.push("in", *bodies(total)[at : at + 1000])
    while desk.books().out < total:
        before = desk.books().out
        process = start("Sink", maxdeliveries=1000)
        wait_until(lambda: desk.books().out > before + 300 or desk.books().out == total)  # noqa: B023
        process.kill()
        process.wait()

    assert (tmp_path / "sink").read_bytes().splitlines() == bodies(total)
    assert desk.books().balanced


def test_a_refused_password_ends_the_worker_with_the_configurations_exit_code(
    own_redis: RedisServer, start: Start
) -> None:
    with connect(own_redis.url) as client:
        client.config_set("requirepass", "secret")

        process = start(url=own_redis.url)

        assert process.wait(timeout=60) == EXIT_CONFIG


def test_of_several_processes_that_start_together_one_seeds(desk: Desk, start: Start) -> None:
    for number in range(4):
        start("Seeder", number=number)
    wait_until(lambda: all(state(desk, number) == "idle" for number in range(4)))

    assert desk.books().pushed == 1
    # what they say of themselves may be older than the message
    wait_until(lambda: desk.waiting("out") == [b'{"seed":1}'])


def test_the_worker_tells_what_it_is(desk: Desk, start: Start) -> None:
    process = start()
    wait_until(lambda: state(desk) == "idle")

    facts = desk.client.hgetall(desk.keys.worker("node:stage_0"))

    assert int(facts[b"pid"]) == process.pid == os.getpgid(process.pid) or int(facts[b"pid"]) == process.pid
    assert int(facts[b"rss_kb"]) > 5000
    assert facts[b"version"]
