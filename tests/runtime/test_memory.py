"""What stages remember: in the step of the message that changed it, the same for all who read the queue."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import simplejson

from aggregator.errors import EXIT_AWAY, EXIT_CONFIG, MemoryChanged
from aggregator.runtime.batch import Batch, Change
from aggregator.runtime.succession import move
from tests.runtime.conftest import Start
from tests.runtime.desk import Desk, begun, forward
from tests.servers import wait_until


def named(*names: str, **more: object) -> list[bytes]:
    return [simplejson.dumps({"name": name, **more}).encode() for name in names]


def counted(desk: Desk) -> list[tuple[str, int]]:
    return [(told["name"], told["count"]) for told in map(simplejson.loads, desk.waiting("out"))]


def remember(desk: Desk, number: int = 5, **texts: tuple[str | None, str, float | None]) -> None:
    """Commit changes (expected, text, ttl) as a worker would."""
    batch = Batch()
    batch.changes = {name: Change(*change) for name, change in texts.items()}
    desk.worker(number=number).commit(batch, prefix=True)


def test_a_message_finds_what_those_before_it_left_in_its_batch_and_in_earlier_ones(desk: Desk, start: Start) -> None:
    desk.push("in", *named("a", "b", "a", "a"))
    start("Tally")
    wait_until(lambda: len(counted(desk)) == 4)

    desk.push("in", *named("b", "a"))

    wait_until(lambda: len(counted(desk)) == 6)
    assert counted(desk) == [("a", 1), ("b", 1), ("a", 2), ("a", 3), ("b", 2), ("a", 4)]


def test_what_is_remembered_takes_effect_with_its_message_alone_across_sigkill(desk: Desk, start: Start) -> None:
    desk.push("in", *named("a") * 3)
    process = start("Tally", batch=1)
    sent = 3
    for _ in range(8):
        desk.push("in", *named("a") * 40)
        sent += 40
        wait_until(lambda before=sent - 40: len(counted(desk)) > before)  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = start("Tally", maxdeliveries=1000)

    wait_until(lambda: len(counted(desk)) == sent)
    assert sorted(count for _, count in counted(desk)) == list(range(1, sent + 1))


def test_a_message_that_is_tried_again_remembers_once(desk: Desk, start: Start) -> None:
    desk.push("in", b'{"name":"a","ttl_s":"no number"}', *named("a"))

    start("Tally", maxtries=1)

    wait_until(lambda: desk.books().dead == 1 and counted(desk))
    assert counted(desk) == [("a", 1)]


def test_what_is_remembered_for_some_time_is_forgotten_then(desk: Desk) -> None:
    worker = desk.worker()
    remember(desk, soon=("", "1", 0.05), late=("", "2", 600.0), ever=("", "3 4", None))
    wait_until(lambda: worker.recall(["soon", "late", "ever", "none"]) == ["", "2", "3 4", ""])

    remember(desk, other=("", "x", None))

    assert desk.client.hkeys(desk.keys.memory("in")) == [b"late", b"ever", b"other"]
    assert desk.client.zrange(desk.keys.fading("in"), 0, -1) == [b"late"]


def test_a_commit_takes_no_effect_when_another_worker_changed_what_it_recalled(desk: Desk) -> None:
    desk.push("in", b"{}")
    worker = desk.worker()
    batch = forward(worker.claim(0, 1).messages, "out")
    batch.changes = {"a": Change("", "1", None)}
    remember(desk, a=("", "other", None))

    with pytest.raises(MemoryChanged, match="under a"):
        worker.commit(batch, prefix=True)

    assert (desk.waiting("out"), worker.recall(["a"])) == ([], ["other"])
    batch.changes = {"a": Change("other", "2", None)}
    assert worker.commit(batch, prefix=True) and worker.recall(["a"]) == ["2"]


def test_messages_whose_memory_was_changed_meanwhile_are_handled_anew(desk: Desk, start: Start, tmp_path: Path) -> None:
    desk.push("in", *named("a", do="hold", n=1), *named("a"))
    start("Tally")
    wait_until(lambda: begun(tmp_path) == 1)
    remember(desk, a=(None, "100", None))
    (tmp_path / "go").touch()

    wait_until(lambda: len(counted(desk)) == 2)

    assert counted(desk) == [("a", 101), ("a", 102)]
    books = desk.books()
    assert (books.out, books.balanced, books.counts["memory_changed"], books.dead) == (2, True, 1, 0)


def test_a_stage_that_recalls_handles_one_message_at_a_time(desk: Desk, start: Start, tmp_path: Path) -> None:
    process = start("TallyThreads")

    assert process.wait(60) == EXIT_CONFIG
    assert "concurrency: the stage recalls what earlier messages left" in (tmp_path / "worker_0.log").read_text()


def test_what_was_not_named_cannot_be_recalled(desk: Desk, start: Start) -> None:
    desk.push("in", b'{"name":"a"}')
    start("Forgetful", maxtries=1)

    wait_until(lambda: desk.books().dead == 1)
    [letter] = desk.client.hvals(desk.keys.dead("in"))
    assert b"Stage.needs names what a message's handling recalls" in letter


def test_what_was_not_named_cannot_be_remembered(desk: Desk, start: Start) -> None:
    remember(desk, other=(None, "of another worker", None))
    desk.push("in", b'{"name":"a"}')
    start("Careless", maxtries=1)

    wait_until(lambda: desk.books().dead == 1)
    [letter] = desk.client.hvals(desk.keys.dead("in"))
    assert b"'other' was not fetched: Stage.needs names what a message's handling remembers" in letter
    assert desk.worker(number=6).recall(["other"]) == ["of another worker"]
    assert desk.waiting("out") == []


def test_what_is_remembered_moves_with_its_queue(desk: Desk) -> None:
    remember(desk, a=("", "1", None), b=("", "2", 600.0))

    move(desk.client, desk.keys, "in", "elsewhere")

    assert desk.worker("elsewhere", number=3).recall(["a", "b"]) == ["1", "2"]
    assert desk.worker().recall(["a", "b"]) == ["", ""]


def test_what_is_over_in_the_other_queue_does_not_hold_up_what_moves_there(desk: Desk) -> None:
    remember(desk, a=("", "1", None))
    desk.client.hset(desk.keys.memory("elsewhere"), "a", "1.000 over for long")
    desk.client.zadd(desk.keys.fading("elsewhere"), {"a": 1.0})

    move(desk.client, desk.keys, "in", "elsewhere")

    assert desk.worker("elsewhere", number=3).recall(["a"]) == ["1"]
    assert not desk.client.exists(desk.keys.memory("in"), desk.keys.fading("elsewhere"))


def test_a_stage_that_writes_files_starts_anew_so_that_nothing_is_written_twice(
    desk: Desk, start: Start, tmp_path: Path
) -> None:
    desk.push("in", *named("a", do="hold", n=1), *named("a"))
    first = start("TallySink")
    wait_until(lambda: begun(tmp_path) == 1)
    remember(desk, a=(None, "100", None))
    (tmp_path / "go").touch()

    assert first.wait(60) == EXIT_AWAY
    start("TallySink")

    wait_until(lambda: len(counted(desk)) == 2)
    assert counted(desk) == [("a", 101), ("a", 102)]
    assert (tmp_path / "sink").read_text().count("\n") == 2


@pytest.mark.parametrize("name", ['["x"]', '"\\ud800"', "7"])
def test_a_message_whose_needs_cannot_be_is_handled_all_the_same(desk: Desk, start: Start, name: str) -> None:
    body = b'{"name":%s}' % name.encode()
    desk.push("in", body)

    start("Lethal")

    wait_until(lambda: desk.waiting("out"))
    assert desk.waiting("out") == [body]


def test_a_message_whose_needs_kill_the_worker_is_set_aside(desk: Desk, start: Start) -> None:
    desk.push("in", b'{"name":"a","do":"die"}', b'{"name":"b"}')
    for _ in range(3):
        assert start("Lethal", maxdeliveries=3).wait(60) == 3

    start("Lethal", maxdeliveries=3)

    wait_until(lambda: desk.waiting("out") == [b'{"name":"b"}'])
    assert desk.books().dead == 1
