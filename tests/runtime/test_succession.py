"""What a worker takes over that starts under another name, or reads another queue."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aggregator.errors import ConfigError
from aggregator.runtime.batch import Batch, Change, Position
from aggregator.runtime.connection import Unwritable
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Former, Source
from aggregator.runtime.message import History
from aggregator.runtime.neighbours import refuse_another, write_root
from aggregator.runtime.queue import Identity, Queue
from aggregator.runtime.succession import StillRuns, Succession, move
from tests.runtime.desk import Desk, bodies, raws

ME = "instance-1"


def begin(
    desk: Desk, listens: str | None, section: str = "stage", node: str = "node", belongings: tuple[str, ...] = (),
    sections: tuple[str, ...] = ("stage",), queues: tuple[str, ...] = ("in",), instance: str = ME,
    built: Mapping[str, tuple[str, ...]] | None = None, folder: str = "/nowhere", number: int = 0,
) -> tuple[Queue, Succession]:  # fmt: skip
    """Start an incarnation of a worker of this instance, as a process does, up to its succession."""
    queue = Queue(desk.client, desk.keys, Identity(section, number, node), listens)
    context = Context(
        section=section, number=number, node=node, root=Path(folder), instance_id=instance, sections=sections,
        queues=queues, belongings=built,
    )  # fmt: skip
    facts = {"instance": instance, "machine": "", "root": write_root(Path(folder))}
    queue.start({**facts, "belongings": msgspec.json.encode(belongings).decode()})

    class WithBelongings(Source):
        @classmethod
        def belongings(cls, settings: Any, root: Path) -> tuple[str, ...]:
            return belongings

        @classmethod
        def take_over(cls, settings: Any, root: Path, former: Former, own: Mapping[str, str]) -> Collection[str]:
            if built is None:
                return super().take_over(settings, root, former, own)
            return set(former.cursors) & set(belongings) - set(former.keeps or ()) - own.keys()

    return queue, Succession(queue, context, WithBelongings(None, context))


def fill(desk: Desk, worker: Queue) -> None:
    """Leave a message in each place of a worker's queue: set aside, to be tried again, held, ready."""
    desk.push("in", *bodies(4))
    messages = worker.claim(0, 3).messages
    batch = Batch()
    batch.set_aside(messages[0], History(error="bad"))
    batch.retry(messages[1], History(error="again"), 3600.0)
    batch.close()
    worker.commit(batch, prefix=True)


def test_a_section_that_reads_another_queue_takes_along_all_that_lay_in_the_old_one(desk: Desk) -> None:
    before, _ = begin(desk, "in")
    fill(desk, before)

    after, succession = begin(desk, "new", queues=("new",))
    succession.begin()

    # what a worker had held when it vanished goes alone
    assert raws(after.claim(0, 10).messages) == [bodies(3)[2]]
    assert desk.waiting("new") == [bodies(4)[3]]
    assert desk.client.hlen(desk.keys.dead("new")) == desk.client.zcard(desk.keys.delayed("new")) == 1
    assert desk.books("in").dropped == {"moved": 4}
    assert all(desk.books(name).balanced for name in ("in", "new"))


def test_what_comes_later_to_the_old_queue_is_taken_along_too_also_after_another_start(desk: Desk) -> None:
    begin(desk, "in")
    begin(desk, "new", queues=("new",))[1].begin()
    after, succession = begin(desk, "new", queues=("new",))
    succession.begin()
    desk.push("in", *bodies(2))

    succession.sweep()

    assert raws(after.claim(0, 10).messages) == bodies(2)
    assert all(desk.books(name).balanced for name in ("in", "new"))


def test_a_worker_that_is_killed_before_it_took_anything_along_does_so_after_its_next_start(desk: Desk) -> None:
    begin(desk, "in")
    desk.push("in", *bodies(2))
    begin(desk, "new", queues=("new",))

    after, succession = begin(desk, "new", queues=("new",))
    succession.begin()

    assert raws(after.claim(0, 10).messages) == bodies(2)


def test_a_start_that_does_not_know_what_is_read_keeps_in_mind_what_is_to_be_taken_along(desk: Desk) -> None:
    begin(desk, "in")
    desk.push("in", *bodies(2))
    begin(desk, "new", queues=())[1].begin()

    after, succession = begin(desk, "new", queues=("new",))
    succession.begin()

    assert raws(after.claim(0, 10).messages) == bodies(2)


def test_what_a_worker_that_vanished_holds_of_the_old_queue_is_taken_along_too(desk: Desk) -> None:
    gone = desk.worker("in", 1)
    desk.push("in", *bodies(1))
    gone.claim(0, 1)
    begin(desk, "in")

    after, succession = begin(desk, "new", queues=("new",))
    succession.begin()

    assert raws(after.claim(0, 10).messages) == bodies(1)


def test_a_queue_that_another_section_reads_now_is_left_alone(desk: Desk) -> None:
    begin(desk, "in")
    desk.push("in", *bodies(2))

    begin(desk, "new", queues=("new", "in"))[1].begin()

    assert desk.waiting("in") == bodies(2)


def test_a_queue_that_a_living_worker_elsewhere_reads_is_left_alone(desk: Desk) -> None:
    begin(desk, "in")
    elsewhere = Queue(desk.client, desk.keys, Identity("stage", 0, "other"), "in")
    elsewhere.start({"instance": "instance-2"})
    elsewhere.beat({"state": "idle"})
    desk.push("in", *bodies(2))

    begin(desk, "new", queues=("new",))[1].begin()

    assert desk.waiting("in") == bodies(2)


def remember(desk: Desk, worker: Queue, text: str) -> None:
    batch = Batch()
    batch.changes = {"total": Change(None, text, None)}
    worker.commit(batch, prefix=True)


@pytest.mark.parametrize("kind", ["memory", "timers"])
def test_a_worker_that_may_change_memory_or_timers_of_the_old_queue_is_waited_for(desk: Desk, kind: str) -> None:
    before, _ = begin(desk, "in")
    sibling, _ = begin(desk, "in", section="stage", number=1)
    sibling.beat({"state": "busy"})
    if kind == "memory":
        remember(desk, before, "100")
    else:
        desk.client.zadd(desk.keys.timers("in"), {"t": 9e9})
        desk.client.hset(desk.keys.timed("in"), "t", "{}")
    after, succession = begin(desk, "new", queues=("new",))

    with pytest.raises(StillRuns, match="in holds timers or memory of this section, and node:stage still reads it"):
        succession.begin()
    sibling.leave()
    succession.begin()

    if kind == "memory":
        assert after.recall(["total"]) == ["100"]
    else:
        assert desk.client.zrange(desk.keys.timers("new"), 0, -1) == [b"t"]


def test_a_remembered_text_is_never_replaced_by_another_and_is_told(desk: Desk) -> None:
    before, _ = begin(desk, "in")
    remember(desk, before, "100")
    desk.client.hset(desk.keys.memory("new"), "total", " 3")
    after, succession = begin(desk, "new", queues=("new",))

    succession.begin()
    succession.sweep()

    assert after.recall(["total"]) == ["3"]
    assert desk.client.hget(desk.keys.memory("in"), "total") == b" 100"
    assert [code for code, _ in succession._context.reports] == ["memory_left"]


def store_cursor(desk: Desk, worker: Queue, value: str) -> None:
    batch = Batch()
    batch.cursors.append(Position("place", None, value))
    worker.commit(batch, prefix=True)


def test_a_renamed_section_takes_over_the_cursors_of_the_one_that_is_gone(desk: Desk) -> None:
    before, _ = begin(desk, None, "old", belongings=("file:/x",))
    store_cursor(desk, before, "7")
    before.leave()

    after, succession = begin(desk, None, "stage", belongings=("file:/x",))
    succession.begin()

    assert after.cursors() == {"place": "7"}
    assert desk.client.exists(desk.keys.cursors("node:old")) == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"belongings": ("file:/y",)},
        {"sections": ("stage", "old")},
        {"instance": "instance-2", "folder": "/elsewhere"},
        {"instance": "instance-2", "node": "other"},
    ],
    ids=["about another file", "the old one is still there", "another instance", "another machine's instance"],
)
def test_cursors_of_others_stay_where_they_are(desk: Desk, changed: dict[str, Any]) -> None:
    before, _ = begin(desk, None, "old", belongings=("file:/x",))
    store_cursor(desk, before, "7")
    before.leave()

    after, succession = begin(desk, None, "stage", **({"belongings": ("file:/x",)} | changed))
    succession.begin()

    assert after.cursors() == {}


def test_a_section_that_still_runs_is_waited_for(desk: Desk) -> None:
    before, _ = begin(desk, None, "old", belongings=("file:/x",))
    store_cursor(desk, before, "7")
    before.beat({"state": "busy"})
    after, succession = begin(desk, None, "stage", belongings=("file:/x",))

    with pytest.raises(StillRuns, match="node:old"):
        succession.begin()
    before.leave()
    succession.begin()

    assert after.cursors() == {"place": "7"}


@pytest.mark.parametrize("known", [ME, ""], ids=["lost since", "lost before"])
def test_an_instance_whose_id_is_lost_goes_on_as_it_is_in_the_same_folder(desk: Desk, known: str) -> None:
    before, _ = begin(desk, None, "old", belongings=("file:/x",), instance=known)
    store_cursor(desk, before, "7")
    before.leave()

    after, succession = begin(desk, None, "stage", belongings=("file:/x",), instance="made anew")
    succession.begin()

    assert after.cursors() == {"place": "7"}


def store_cursors(desk: Desk, worker: Queue, *names: str) -> None:
    batch = Batch()
    batch.cursors += [Position(name, None, "7") for name in names]
    worker.commit(batch, prefix=True)


def test_of_two_sections_that_divide_what_one_had_each_takes_over_its_own(desk: Desk) -> None:
    before, _ = begin(desk, None, "old", belongings=("log:/x", "log:/y"))
    store_cursors(desk, before, "log:/x", "log:/y")
    before.leave()
    built = {"one": ("log:/x",), "two": ("log:/y",)}

    for section, belongings in built.items():
        after, succession = begin(desk, None, section, belongings=belongings, sections=tuple(built), built=built)
        succession.begin()

        assert after.cursors() == dict.fromkeys(belongings, "7")


def test_of_two_sections_that_become_one_none_is_taken_over_while_the_other_runs(desk: Desk) -> None:
    first, _ = begin(desk, None, "first", belongings=("log:/x",))
    store_cursors(desk, first, "log:/x")
    first.leave()
    second, _ = begin(desk, None, "second", belongings=("log:/y",))
    store_cursors(desk, second, "log:/y")
    second.beat({"state": "busy"})
    built = {"stage": ("log:/x", "log:/y")}
    after, succession = begin(desk, None, belongings=built["stage"], built=built)

    with pytest.raises(StillRuns, match="node:second"):
        succession.begin()
    assert after.cursors() == {}
    second.leave()
    succession.begin()

    assert after.cursors() == {"log:/x": "7", "log:/y": "7"}


def test_a_section_that_gets_what_another_gives_up_goes_on_once_that_runs_as_built(desk: Desk) -> None:
    sections, built = ("old", "stage"), {"old": ("log:/x",), "stage": ("log:/y", "log:/z")}
    before, _ = begin(desk, None, "old", belongings=("log:/x", "log:/y"))
    store_cursors(desk, before, "log:/x", "log:/y")
    before.beat({"state": "busy"})
    after, succession = begin(desk, None, belongings=built["stage"], sections=sections, built=built)
    store_cursors(desk, after, "log:/z")

    with pytest.raises(StillRuns, match="node:old"):
        succession.begin()
    restarted, _ = begin(desk, None, "old", belongings=built["old"])
    succession.begin()

    assert after.cursors() == {"log:/y": "7", "log:/z": "7"}
    store_cursors(desk, restarted, "log:/x")  # it was not fenced off


def test_a_node_that_was_renamed_goes_on_with_its_cursors_and_queues(desk: Desk) -> None:
    before, _ = begin(desk, "in@node", node="first", queues=("in@first",))
    store_cursor(desk, before, "7")
    desk.push("in@first", *bodies(2))
    before.leave()

    after, succession = begin(desk, "in@node", node="second", queues=("in@second",))
    succession.begin()

    assert after.cursors() == {"place": "7"}
    assert raws(after.claim(0, 10).messages) == bodies(2)


def test_moving_more_than_a_page_keeps_everything_once(desk: Desk) -> None:
    desk.worker("in")
    desk.push("in", *bodies(5000))

    assert move(desk.client, desk.keys, "in", "out") == 5000

    assert desk.waiting("out") == bodies(5000)
    assert all(desk.books(name).balanced for name in ("in", "out"))


def test_nothing_is_moved_to_a_queue_of_which_a_key_is_something_else(desk: Desk) -> None:
    desk.worker("in")
    desk.push("in", *bodies(2))
    desk.client.set(desk.keys.delayed("out"), "a string")

    with pytest.raises(Unwritable, match="MISTYPED"):
        move(desk.client, desk.keys, "in", "out")

    assert desk.waiting("in") == bodies(2)
    assert desk.waiting("out") == []


def test_of_two_instances_that_start_at_once_under_one_node_one_is_refused(desk: Desk) -> None:
    first, second = (Queue(desk.client, desk.keys, Identity("stage", 0, "node"), "in") for _ in range(2))
    first.start({}, instance="instance-1")

    with pytest.raises(ConfigError, match="instance-1 works in this Redis as node node too"):
        second.start({}, instance="instance-2")
    second.start({}, instance="instance-2", superseded="instance-1")

    assert desk.client.hget(desk.keys.instances, "node") == b"instance-2"


def test_an_instance_that_is_at_rest_and_lets_nobody_look_is_another(desk: Desk, tmp_path: Path) -> None:
    there = tmp_path / "theirs"
    (there / "data").mkdir(parents=True)
    (there / "data" / "instance").symlink_to("instance")  # what opens it finds no end of links
    first = Queue(desk.client, desk.keys, Identity("stage", 0, "node"), "in")
    first.start({"instance": "instance-1", "root": write_root(there)})
    first.beat({"state": "idle"})
    first.leave()

    with pytest.raises(ConfigError, match="works in this Redis as node node too"):
        refuse_another(desk.client, desk.keys, "node", tmp_path, "instance-2")


def test_a_state_has_one_id_until_it_is_emptied(desk: Desk) -> None:
    first, second = desk.worker("in"), desk.worker("out", 1)
    known = first.state_id
    desk.client.delete(*desk.client.keys(f"{desk.keys.prefix}*"))

    third = desk.worker("in")

    assert len(known) == 16
    assert second.state_id == known != third.state_id


def test_a_section_that_was_renamed_and_renamed_back_goes_on_each_time(desk: Desk) -> None:
    for section, value in (("old", "7"), ("new", "8"), ("old", "9")):
        queue, succession = begin(desk, None, section, belongings=("file:/x",), sections=(section,))
        succession.begin()
        before = queue.cursors()
        store_cursor(desk, queue, value)
        queue.leave()

    assert before == {"place": "8"}
