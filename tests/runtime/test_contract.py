"""When a worker calls its stage or source: around commits, for dead letters, while it waits."""

from __future__ import annotations

import signal
from pathlib import Path

import simplejson

from tests.runtime.conftest import Start
from tests.runtime.desk import Desk, bodies, order, state
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
