"""When a worker calls its stage or source: around commits, for dead letters, while it waits."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import simplejson

from aggregator.errors import EXIT_AWAY, EXIT_CONFIG
from aggregator.runtime.batch import Batch
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Cursor, Lease, Remember, Send
from aggregator.runtime.deadletters import scan
from aggregator.runtime.message import Message
from tests.runtime.conftest import Start
from tests.runtime.desk import Desk, beat, bodies, order, state
from tests.servers import wait_until


def obituaries(desk: Desk) -> list[dict[str, object]]:
    return [simplejson.loads(raw) for raw in desk.waiting("obituaries")]


def test_what_settle_yields_is_committed_with_the_messages(desk: Desk, start: Start, tmp_path: Path) -> None:
    (tmp_path / "end").touch()
    desk.push("in", *bodies(10))

    start("Tidy", batch=5)

    wait_until(lambda: len(desk.waiting("out")) == 10)
    assert len(desk.waiting("settled")) == 2
    assert desk.books().balanced


def test_a_message_whose_effect_fails_in_settle_is_set_aside_or_retried_alone(desk: Desk, start: Start) -> None:
    desk.push("in", order("send", n=0), order("refuse"), order("doubt"), order("send", n=1), order("refuse"))

    start("Doubtful", maxtries=3)

    wait_until(lambda: desk.books().dead == 3)
    assert desk.waiting("out") == [order("send", n=0), order("send", n=1)]
    letters = [(letter.raw, letter.history.attempts) for letter in scan(desk.client, desk.keys, "in")]
    assert sorted(letters) == [(order("doubt"), 3), (order("refuse"), 1), (order("refuse"), 1)]
    assert desk.books().balanced and desk.books().out == 2


def test_a_message_that_was_not_handled_cannot_fail_later() -> None:
    with pytest.raises(ValueError, match="was not handled"):
        Batch().take_back(Message(b"{}", b"{}"))


def test_committed_is_called_after_the_commit_and_not_before(desk: Desk, start: Start, tmp_path: Path) -> None:
    desk.push("in", order("hold", n=0))
    start("Tidy")
    wait_until(lambda: (tmp_path / "begun_0").exists())
    assert not (tmp_path / "committed").exists()

    (tmp_path / "go").touch()

    wait_until(lambda: (tmp_path / "committed").exists())
    assert desk.waiting("out") == [order("hold", n=0)]
    (tmp_path / "end").touch()


def test_who_waits_for_a_message_learns_in_the_same_step_that_it_died(desk: Desk, start: Start) -> None:
    desk.push("in", order("raise"), order("send"))

    start("Mortal", maxtries=2, retrydelay=0.05)

    wait_until(lambda: desk.books().dead == 1)
    assert [told["error"] for told in obituaries(desk)] == ["KeyError: 'nothing under this name'"]
    assert desk.books().balanced


def test_a_message_that_loses_too_many_workers_is_set_aside_with_its_reason_and_told_of(
    desk: Desk, start: Start
) -> None:
    desk.push("in", order("die"), *bodies(1))
    for _ in range(2):
        assert start("Mortal", maxdeliveries=2).wait(60) == 3

    start("Mortal", maxdeliveries=2)

    wait_until(lambda: desk.books().dead == 1 and desk.waiting("out") == bodies(1))
    assert obituaries(desk) == [{"error": "its worker vanished 2 times while holding it", "deliveries": 2}]
    [letter] = desk.client.hvals(desk.keys.dead("in"))
    assert letter.endswith(b"\n" + order("die")) and b"vanished 2 times" in letter
    assert desk.books().balanced


def test_a_fault_in_what_is_said_of_the_dead_keeps_nothing_from_dying(desk: Desk, start: Start, tmp_path: Path) -> None:
    desk.push("in", order("reject"), order("send"))

    start("Mortal")

    wait_until(lambda: desk.books().dead == 1 and desk.waiting("out"))
    assert desk.books().counts == {"died_untold": 1}
    assert "died_untold error=LookupError: nobody waits for it" in (tmp_path / "worker_0.log").read_text()


def test_a_stage_that_settles_by_a_mapping_ends_for_good_and_loses_no_message(
    desk: Desk, start: Start, tmp_path: Path
) -> None:
    desk.push("in", *bodies(3))

    process = start("HalfPorted")

    assert process.wait(60) == EXIT_CONFIG
    assert "settle or idle returned a mapping" in (tmp_path / "worker_0.log").read_text()
    books = desk.books()
    assert (books.dead, books.in_flight, books.balanced) == (0, 3, True)


def test_a_source_that_waits_by_itself_ends_at_a_signal_and_has_committed_at_each_flush(
    desk: Desk, start: Start, tmp_path: Path
) -> None:
    lines = tmp_path / "lines"
    lines.write_bytes(b"".join(b'{"n":%d}\n' % n for n in range(100)))
    process = start("Reader")
    wait_until(lambda: desk.waiting("out") == bodies(100))

    with lines.open("ab") as file:
        file.write(b'{"n":100}\n')
    wait_until(lambda: len(desk.waiting("out")) == 101)
    process.terminate()

    assert process.wait(60) == 0 and state(desk) == "stopped"


def test_a_poll_without_end_is_committed_at_least_every_second(desk: Desk, start: Start) -> None:
    process = start("Slow", batch=1000)
    wait_until(lambda: len(desk.waiting("out")) > 5)

    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(desk.waiting("out"))
    start("Slow", batch=1000)

    wait_until(lambda: len(desk.waiting("out")) > before + 5)
    assert desk.waiting("out") == bodies(len(desk.waiting("out")))


@pytest.mark.parametrize("how", ["unavailable", "another error"])
def test_a_stage_that_fails_after_a_commit_pauses_and_is_called_again_and_no_message_pays(
    desk: Desk, start: Start, tmp_path: Path, how: str
) -> None:
    (tmp_path / "fail").write_text(how)
    desk.push("in", *bodies(60))
    start("Clumsy", batch=10, maxdeliveries=2)
    wait_until(lambda: state(desk) == "paused")
    assert desk.books().in_flight == 0

    tried = tmp_path / "tried"
    wait_until(lambda: tried.stat().st_size >= 2)
    (tmp_path / "fail").unlink()

    wait_until(lambda: len(desk.waiting("out")) == 60)
    assert (desk.books().dead, desk.books().balanced) == (0, True)


@pytest.mark.parametrize("how", ["unavailable", "another error"])
def test_a_source_that_fails_after_a_commit_sends_nothing_twice(
    desk: Desk, start: Start, tmp_path: Path, how: str
) -> None:
    (tmp_path / "fail").write_text(how)
    start("ClumsySource", idletime=0.01)
    wait_until(lambda: (tmp_path / "tried").exists())
    (tmp_path / "fail").unlink()

    wait_until(lambda: len(desk.waiting("out")) >= 20)
    assert desk.waiting("out") == bodies(20)


def test_a_source_that_fails_after_a_commit_is_called_again_before_it_is_polled(
    desk: Desk, start: Start, tmp_path: Path
) -> None:
    (tmp_path / "fail").write_text("unavailable")
    start("ClumsySource", idletime=0.01)
    tried = tmp_path / "tried"

    wait_until(lambda: tried.exists() and tried.stat().st_size > 2)

    assert desk.waiting("out") == bodies(1)
    (tmp_path / "fail").unlink()
    wait_until(lambda: desk.waiting("out") == bodies(20))


def test_a_superseded_process_does_not_stop_its_source(desk: Desk, start: Start, tmp_path: Path) -> None:
    (tmp_path / "limit").write_text("0")
    superseded = start("Closing")
    wait_until(lambda: beat(desk) > 0)

    desk.client.hincrby(desk.keys.worker("node:stage_0"), "token", 1)

    assert superseded.wait(60) == EXIT_AWAY
    assert not (tmp_path / "stopped").exists()
    beats = beat(desk)
    ended = start("Closing")
    wait_until(lambda: beat(desk) > beats)
    ended.terminate()
    assert ended.wait(60) == 0
    assert (tmp_path / "stopped").exists()


def test_a_stage_that_cannot_seed_yet_is_asked_again(desk: Desk, start: Start, tmp_path: Path) -> None:
    start("LateSeeder")
    wait_until(lambda: state(desk) == "waiting")

    (tmp_path / "go").touch()

    wait_until(lambda: desk.waiting("out"))
    assert desk.waiting("out") == [b'{"seed":1}']


@pytest.mark.parametrize(
    "outcomes",
    [
        [Cursor("next", "1", Lease("pool", "a", "1"))],
        [Send("out", {"n": 1}), "no outcome"],
        [Send("out", {"n": 1}), Cursor("next", "1")],
    ],
    ids=["a lease's cursor", "no outcome", "a cursor of the dead"],
)
def test_what_may_not_be_yielded_beside_messages_is_refused_whole(outcomes: list[Any]) -> None:
    batch = Batch()

    with pytest.raises(TypeError):
        batch.settled(outcomes, *((Send, Remember) if outcomes[-1] == Cursor("next", "1") else ()))

    assert not batch


@pytest.mark.parametrize(
    "outcome",
    [
        Send("out", {"n": 1}, key="\ud800"), Send("out", b""), Send("out", b"", key="a"),
        Remember("\ud800", "1"), Remember("a", "\ud800"), Remember("a", "1", float("nan")),
    ],
    ids=repr,
)  # fmt: skip
def test_what_redis_cannot_keep_is_the_messages_own_fault(outcome: Any) -> None:
    batch = Batch()

    with pytest.raises((TypeError, ValueError)):
        batch.handled(Message(b"{}", b"{}"), [outcome])

    assert not batch


def test_a_count_that_no_counter_can_hold_is_refused(tmp_path: Path) -> None:
    context = Context(section="s", number=0, node="n", root=tmp_path)

    with pytest.raises(ValueError, match="count up to"):
        context.count("bytes", 1 << 63)
