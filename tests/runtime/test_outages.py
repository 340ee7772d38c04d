"""An outage lasts from its first failure until something really succeeded, over trials, restarts and kills."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.runtime.connection import connect
from aggregator.runtime.keys import Keys
from aggregator.runtime.outages import Outage
from aggregator.runtime.roster import roster
from tests.runtime.conftest import Start
from tests.runtime.desk import Desk, beat, bodies, order, state
from tests.servers import RedisServer, wait_until

LONG_AGO = 1000.0


def outages(desk: Desk, number: int = 0) -> dict[str, Outage]:
    """Return what keeps a worker from its work, as it said last, by kind."""
    found = [worker for worker in roster(desk.client, desk.keys).workers if worker.number == number]
    return {outage.kind: outage for worker in found for outage in worker.outages}


def pauses(tmp_path: Path) -> int:
    """Return how often the worker has paused."""
    return (tmp_path / "worker_0.log").read_bytes().count(b"pause pause_s=")


@pytest.mark.parametrize("stage", ["Obedient", "ObedientThreads"])
def test_trials_do_not_end_an_outage_and_what_is_handled_does(
    desk: Desk, start: Start, tmp_path: Path, stage: str
) -> None:
    desk.push("in", order("wait-for-file", file=str(tmp_path / "there")), *bodies(2))
    start(stage)
    wait_until(lambda: "away" in outages(desk))
    first = outages(desk)["away"]

    tried = pauses(tmp_path)
    wait_until(lambda: pauses(tmp_path) > tried + 4)
    assert (outages(desk)["away"].since, first.reason) == (first.since, "the file is not there")
    (tmp_path / "there").touch()

    wait_until(lambda: desk.books().out == 3 and not outages(desk))


def test_a_restart_does_not_end_an_outage(desk: Desk, start: Start, tmp_path: Path) -> None:
    desk.push("in", order("wait-for-file", file=str(tmp_path / "there")))
    process = start()
    wait_until(lambda: "away" in outages(desk))
    since = outages(desk)["away"].since
    process.kill()
    process.wait()

    start()

    tried = pauses(tmp_path)
    wait_until(lambda: pauses(tmp_path) > tried and beat(desk) > 0)
    assert outages(desk)["away"].since == since
    (tmp_path / "there").touch()
    wait_until(lambda: desk.books().out == 1 and not outages(desk))


def test_an_outage_after_a_commit_ends_when_what_was_left_is_done(desk: Desk, start: Start, tmp_path: Path) -> None:
    (tmp_path / "fail").write_text("unavailable")
    desk.push("in", *bodies(1))
    start("Clumsy")
    wait_until(lambda: "away" in outages(desk))

    (tmp_path / "fail").unlink()

    wait_until(lambda: not outages(desk))
    assert (desk.books().out, desk.books().retried) == (1, 0)


def test_a_message_that_was_handled_before_another_found_the_neighbour_away_proves_nothing(
    desk: Desk, start: Start, tmp_path: Path
) -> None:
    worker = desk.worker(number=7)
    desk.push("in", *bodies(3), order("wait-for-file", file=str(tmp_path / "there")))
    worker.leave()
    start()
    wait_until(lambda: "away" in outages(desk))
    tried = pauses(tmp_path)
    since = outages(desk)["away"].since

    wait_until(lambda: pauses(tmp_path) > tried + 2)

    assert (outages(desk)["away"].since, desk.books().out) == (since, 3)


def test_a_probe_that_fails_is_no_success(desk: Desk, start: Start, tmp_path: Path) -> None:
    desk.push("in", order("wait-for-file", file=str(tmp_path / "there")), order("retry"), order("reject"))
    start(maxtries=10**6)

    tried = 0
    wait_until(lambda: desk.books().dead == 1 or pauses(tmp_path) > tried + 3)
    (tmp_path / "there").touch()
    wait_until(lambda: desk.books().retried > 2 and desk.books().dead == 1 and desk.books().out == 1)
    success = desk.books().last_commit
    tries = desk.books().retried
    wait_until(lambda: desk.books().retried > tries + 2)

    assert success is not None
    assert desk.books().last_commit == success


def test_a_section_that_only_ever_failed_has_no_success(desk: Desk, start: Start, tmp_path: Path) -> None:
    desk.push("in", order("wait-for-file", file=str(tmp_path / "there")))
    start()

    wait_until(lambda: pauses(tmp_path) > 3)

    assert desk.books().last_commit is None


def test_a_source_that_cannot_go_on_has_been_so_since_its_first_failure(
    desk: Desk, start: Start, tmp_path: Path
) -> None:
    start("Hesitant", batch=7)
    wait_until(lambda: "away" in outages(desk))
    since = outages(desk)["away"].since
    before = beat(desk)

    wait_until(lambda: beat(desk) > before + 2)

    assert outages(desk)["away"].since == since
    (tmp_path / "limit").touch()
    wait_until(lambda: len(desk.waiting("out")) == 20 and not outages(desk))


@pytest.mark.parametrize("stage", ["Obedient", "Counter"])
def test_a_full_queue_is_named(desk: Desk, start: Start, tmp_path: Path, stage: str) -> None:
    (tmp_path / "limit").write_text("500")
    desk.push("in", *bodies(500))
    start(stage, limit=50, batch=10)
    wait_until(lambda: "full" in outages(desk))
    found = outages(desk)["full"]
    assert (found.queue, found.reason) == ("out", "queue out is full")

    desk.client.delete(desk.keys.queue("out"))

    wait_until(lambda: len(desk.waiting("out")) == 50)
    wait_until(lambda: "full" in outages(desk) and outages(desk)["full"].since > found.since)


def test_a_source_says_that_redis_is_full_and_since_when_over_a_restart(
    own_redis: RedisServer, start: Start, tmp_path: Path
) -> None:
    with connect(own_redis.url) as client:
        client.config_set("maxmemory", 1)
        desk = Desk(client, "full")
        (tmp_path / "limit").write_text("20")
        process = start("Counter", url=own_redis.url, namespace="full")
        wait_until(lambda: "redis_full" in outages(desk))
        since = outages(desk)["redis_full"].since
        assert state(desk) == "waiting"
        process.kill()
        process.wait()

        start("Counter", url=own_redis.url, namespace="full")

        born = client.hget(desk.keys.worker("node:stage_0"), "token")
        wait_until(lambda: client.hget(desk.keys.worker("node:stage_0"), "token") != born or beat(desk) > 1)
        wait_until(lambda: "redis_full" in outages(desk))
        assert outages(desk)["redis_full"].since == since
        client.config_set("maxmemory", 0)
        wait_until(lambda: len(desk.waiting("out")) == 20 and not outages(desk))


def test_what_an_incarnation_of_long_ago_said_is_no_outage_of_today(desk: Desk, start: Start, tmp_path: Path) -> None:
    worker = desk.keys.worker("node:stage_0")
    old = f'{{"kind":"away","since":{LONG_AGO},"reason":"the file is not there"}}'
    desk.client.hset(worker, mapping={"beat_at": LONG_AGO, "outage:away": old})

    start()

    wait_until(lambda: state(desk) == "idle")
    assert not outages(desk)


def test_what_another_version_wrote_in_its_way_is_left_out(desk: Desk) -> None:
    desk.worker().beat({"outage:away": "{}", "outage:odd": "no JSON", "report:x:": "[]"})

    assert not outages(desk)
    assert roster(desk.client, Keys(desk.keys.prefix[1:-2])).workers[0].reports == ()
