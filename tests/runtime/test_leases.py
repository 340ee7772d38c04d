"""Leases: what one worker of all has to itself, over nodes, until it is stopped, killed or gives it back."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import simplejson

from aggregator.errors import LeaseLost, Unavailable
from aggregator.runtime import lease as leases_module
from aggregator.runtime.batch import Batch, Position
from aggregator.runtime.connection import connect
from aggregator.runtime.contract import Lease, Send
from aggregator.runtime.lease import Leases
from tests.processes import PROJECT
from tests.runtime.conftest import Start
from tests.runtime.desk import Desk, beat
from tests.servers import RedisServer, wait_until


@pytest.fixture(autouse=True)
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let leases be shorter than the heartbeat, which only processes have."""
    monkeypatch.setattr(leases_module, "SHORTEST_TTL_S", 0.01)


def holder(desk: Desk, name: str) -> Leases:
    return Leases(desk.client, desk.keys, name)


def names(leases: list[Lease]) -> list[str]:
    return [lease.name for lease in leases]


def numbers(desk: Desk, lease: str) -> list[int]:
    told = map(simplejson.loads, desk.waiting("out"))
    return [each["n"] for each in told if each["lease"] == lease]


def test_a_lease_is_one_holders_at_a_time(desk: Desk) -> None:
    one, two = holder(desk, "n1:s_0"), holder(desk, "n2:s_0")

    assert names(one.take("pool", ["a", "b", "c"], 60, most=2)) == ["a", "b"]
    assert names(two.take("pool", ["a", "b", "c"], 60)) == ["c"]
    assert one.take("pool", ["a", "c"], 60) == []
    assert names(two.take("other", ["a"], 60)) == ["a"]


def test_what_is_given_back_can_be_taken_at_once_with_a_greater_token(desk: Desk) -> None:
    one, two = holder(desk, "n1:s_0"), holder(desk, "n2:s_0")
    [first] = one.take("pool", ["a"], 60)

    one.give(first)
    [second] = two.take("pool", ["a"], 60)

    assert int(second.token) > int(first.token) and one.held == ()


def test_a_lease_that_is_not_renewed_is_lost_and_one_that_is_stays(desk: Desk) -> None:
    one, two = holder(desk, "n1:s_0"), holder(desk, "n2:s_0")
    [kept] = one.take("pool", ["kept"], 0.2)
    [left] = one.take("pool", ["left"], 0.15)
    one.drop("pool", "left")
    taken: list[Lease] = []

    def two_takes() -> bool:
        one.renew()
        taken.extend(two.take("pool", ["kept", "left"], 60))
        return bool(taken)

    wait_until(two_takes)
    assert names(taken) == ["left"] and one.held == (kept,) and one.lost() == [left]


def test_a_holder_learns_that_it_lost_a_lease(desk: Desk) -> None:
    one, two = holder(desk, "n1:s_0"), holder(desk, "n2:s_0")
    [lease] = one.take("pool", ["a"], 0.02)
    wait_until(lambda: two.take("pool", ["a"], 60))

    one.renew()

    assert one.held == () and one.lost() == [lease] and one.lost() == []


IN_USE = """
import sys, time
from aggregator.runtime.connection import connect
from aggregator.runtime.fuse import Fuse
from aggregator.runtime.keys import Keys
from aggregator.runtime.lease import Leases

with connect(sys.argv[1]) as client:
    leases = Leases(client, Keys(sys.argv[2]), "n1:s_0")
    renews = sys.argv[3] == "renews"
    with leases.at_stake(leases.take("pool", ["a"], 2.0), 0.5, Fuse()):
        print("in use", flush=True)
        for _ in range(30):
            time.sleep(0.1)
            if renews:
                leases.renew()
print("over", flush=True)
time.sleep(2.5)
print("alive", flush=True)
"""


def using(redis_url: str, namespace: str, how: str) -> subprocess.Popen[str]:
    """Start a process that uses a lease of 2 s for 3 s, and then nothing."""
    command = [sys.executable, "-c", IN_USE, redis_url, namespace, how]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    assert process.stdout is not None and process.stdout.readline() == "in use\n"
    return process


def test_a_stopped_process_is_killed_before_another_has_its_lease(desk: Desk, redis_url: str, namespace: str) -> None:
    process, other = using(redis_url, namespace, "renews"), holder(desk, "n2:s_0")

    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: other.take("pool", ["a"], 60) or process.poll() is not None)

    process.communicate()
    assert process.returncode == -signal.SIGKILL and other.held == ()


def test_a_process_that_renews_is_not_killed_and_one_that_is_done_neither(redis_url: str, namespace: str) -> None:
    process = using(redis_url, namespace, "renews")

    assert process.communicate()[0] == "over\nalive\n" and process.returncode == 0


def test_a_process_that_uses_a_lease_past_its_time_is_killed(redis_url: str, namespace: str) -> None:
    process = using(redis_url, namespace, "lets go")

    assert process.communicate()[0] == "" and process.returncode == -signal.SIGKILL


def test_how_long_a_lease_is_surely_ours_is_known_without_asking(desk: Desk) -> None:
    one, two = holder(desk, "n1:s_0"), holder(desk, "n2:s_0")
    [lease] = one.take("pool", ["a"], 60)
    [short] = one.take("pool", ["short"], 0.02)
    [given] = one.take("pool", ["given"], 60)
    one.give(given)

    wait_until(lambda: two.take("pool", ["short"], 60))

    assert 50 < one.sure_s(lease) <= 60
    assert one.sure_s(short) == one.sure_s(given) == two.sure_s(lease) == 0.0


def test_a_renewed_lease_is_surely_ours_for_its_time_again(desk: Desk) -> None:
    one = holder(desk, "n1:s_0")
    [lease] = one.take("pool", ["a"], 60)
    before = one.sure_s(lease)
    wait_until(lambda: one.sure_s(lease) < before - 0.05)

    one.renew()

    assert one.sure_s(lease) > before - 0.05


def test_a_new_incarnation_takes_over_what_its_name_had(desk: Desk) -> None:
    [before] = holder(desk, "n1:s_0").take("pool", ["a"], 600)

    [after] = holder(desk, "n1:s_0").take("pool", ["a"], 600)

    assert int(after.token) > int(before.token)


def test_a_commit_takes_no_effect_when_a_lease_it_depends_on_is_anothers(desk: Desk) -> None:
    source = desk.worker(None)
    [lease] = holder(desk, source.identity.name).take("pool", ["a"], 0.02)
    wait_until(lambda: holder(desk, "n2:s_0").take("pool", ["a"], 60))
    batch = Batch()
    batch.send(Send("out", b"{}"))
    batch.cursors = [Position("next", None, "1", lease)]

    with pytest.raises(LeaseLost, match="the lease a of pool"):
        source.commit(batch, prefix=False)

    assert desk.waiting("out") == [] and holder(desk, "x").cursors(lease) == {}


def test_a_commit_takes_no_effect_when_the_time_of_its_lease_is_over(desk: Desk) -> None:
    source = desk.worker(None)
    leases = holder(desk, source.identity.name)
    [lease] = leases.take("pool", ["a"], 600)
    leases.give(lease)
    batch = Batch()
    batch.cursors = [Position("next", None, "1", lease)]

    with pytest.raises(LeaseLost):
        source.commit(batch, prefix=False)


def test_of_two_pools_with_a_lease_of_one_name_the_right_one_is_lost(desk: Desk) -> None:
    source = desk.worker(None)
    leases = holder(desk, source.identity.name)
    [kept] = leases.take("one", ["0"], 600)
    [stolen] = leases.take("two", ["0"], 0.02)
    wait_until(lambda: holder(desk, "n2:s_0").take("two", ["0"], 60))
    batch = Batch()
    batch.cursors = [Position("next", None, "1", kept), Position("next", None, "1", stolen)]

    with pytest.raises(LeaseLost) as lost:
        source.commit(batch, prefix=False)

    assert (lost.value.pool, lost.value.name) == ("two", "0")


def test_a_pool_with_a_colon_is_refused_as_its_keys_could_be_anothers(desk: Desk) -> None:
    with pytest.raises(ValueError, match="no colon"):
        holder(desk, "n1:s_0").take("a:b", ["c"], 60)


@pytest.mark.parametrize("ttl_s", [0, -5, 0.001, float("inf"), float("nan"), "abc", None])
def test_a_time_that_no_lease_can_last_is_refused(desk: Desk, ttl_s: Any) -> None:
    with pytest.raises(ValueError, match="a lease lasts"):
        holder(desk, "n1:s_0").take("pool", ["a"], ttl_s)


def test_a_lease_without_a_name_is_refused_and_one_named_twice_is_one(desk: Desk) -> None:
    one = holder(desk, "n1:s_0")

    with pytest.raises(ValueError, match="has a name"):
        one.take("pool", ["a", ""], 60)
    assert names(one.take("pool", ["a", "a"], 60)) == ["a"]


def test_leases_in_a_redis_at_its_maxmemory_are_kept(own_redis: RedisServer, namespace: str) -> None:
    with connect(own_redis.url) as client:
        desk = Desk(client, namespace)
        leases = holder(desk, "n1:s_0")
        [lease] = leases.take("pool", ["a"], 600)
        client.config_set("maxmemory", 1)

        leases.renew()

        assert leases.held == (lease,)


def test_a_redis_that_is_away_is_no_messages_fault(own_redis: RedisServer, namespace: str) -> None:
    with connect(own_redis.url) as client:
        leases = holder(Desk(client, namespace), "n1:s_0")
        own_redis.stop()

        with pytest.raises(Unavailable, match="Redis is away"):
            leases.take("pool", ["a"], 60)


def test_positions_of_a_lease_are_found_by_whoever_has_it(desk: Desk) -> None:
    source = desk.worker(None)
    leases = holder(desk, source.identity.name)
    [lease] = leases.take("pool", ["a"], 600)
    batch = Batch()
    batch.cursors = [Position("next", None, "7", lease), Position("own", "", "1")]
    source.commit(batch, prefix=False)
    leases.give(lease)

    other = holder(desk, "n2:s_0")
    [taken] = other.take("pool", ["a"], 600)

    assert other.cursors(taken) == {"next": "7"} and source.cursors() == {"own": "1"}


def goes_on(desk: Desk, process: subprocess.Popen[bytes], number: int) -> None:
    """Return once a worker has sent something more."""
    before = len(by(desk, number))
    wait_until(lambda: len(by(desk, number)) > before or process.poll() is not None)
    assert process.poll() is None


def by(desk: Desk, number: int) -> list[int]:
    told = map(simplejson.loads, desk.waiting("out"))
    return [each["n"] for each in told if each["by"] == number]


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_stopped_or_killed_holder_loses_its_lease_and_every_number_comes_once(
    desk: Desk, start: Start, tmp_path: Path, how: signal.Signals
) -> None:
    first = start("Tenant", number=0, node="one", idletime=0.01)
    wait_until(lambda: len(by(desk, 0)) > 5)
    second = start("Tenant", number=1, node="two", idletime=0.01)

    if how == signal.SIGSTOP:
        (tmp_path / "stop_0").touch()  # it stops itself in the middle of a poll
    else:
        first.send_signal(how)
    goes_on(desk, second, 1)
    (tmp_path / "stop_0").unlink(missing_ok=True)
    if how == signal.SIGSTOP:
        first.send_signal(signal.SIGCONT)
        wait_until(lambda: b"lost name=a" in (tmp_path / "worker_0.log").read_bytes())
    goes_on(desk, second, 1)

    sent = numbers(desk, "a")
    assert Counter(sent) == Counter(range(len(sent)))


def test_a_source_that_cannot_leave_a_lost_lease_yet_is_asked_again(desk: Desk, start: Start, tmp_path: Path) -> None:
    (tmp_path / "fail").write_text("unavailable")
    process = start("Tenant", ttl_s=600.0, idletime=0.01)
    wait_until(lambda: by(desk, 0))

    desk.client.hset(desk.keys.leases("pool"), "a", f"{10**17} {10**10}.000 another")

    tried = tmp_path / "tried"
    wait_until(lambda: process.poll() is not None or (tried.exists() and tried.stat().st_size > 2))
    assert process.poll() is None
    (tmp_path / "fail").unlink()
    wait_until(lambda: b"lost name=a" in (tmp_path / "worker_0.log").read_bytes())


def test_a_worker_that_ends_gives_its_leases_back(desk: Desk, start: Start) -> None:
    process = start("Tenant", ttl_s=600.0, idletime=0.01)
    wait_until(lambda: by(desk, 0))

    process.terminate()
    process.wait(60)

    assert names(holder(desk, "other").take("pool", ["a"], 60)) == ["a"]


def test_a_lease_is_kept_by_the_signs_of_life(desk: Desk, start: Start) -> None:
    start("Tenant", ttl_s=1.0, idletime=0.01)
    wait_until(lambda: by(desk, 0))
    began = beat(desk)

    wait_until(lambda: beat(desk) > began + 4)

    assert holder(desk, "other").take("pool", ["a"], 60) == []
