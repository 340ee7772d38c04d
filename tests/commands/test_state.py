"""`aggregator state`: what nobody reads any more, and what is to become of it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from aggregator.config.identity import claim, read_facts
from aggregator.config.instance import Instance
from aggregator.errors import ConfigError
from aggregator.runtime.batch import Batch, Position
from aggregator.runtime.keys import Keys
from aggregator.runtime.transfer import check, dump, restore
from tests.commands.conftest import Site
from tests.runtime.desk import Desk, bodies

BROKER = "[worker_broker]\nstage = broker\nlistento = lines\nfanout = kept\n"


def leave(site: Site, queue: str, section: str = "worker_gone") -> None:
    """Leave messages, a dead letter and a position of a section that is gone."""
    site.kill(queue, b'{"dead":1}')
    site.desk.push(queue, *bodies(3))
    worker = site.desk.worker(None)
    worker.identity = worker.identity._replace(section=section)
    site.desk.client.sadd(site.desk.keys.workers, f"node:{section}_0")
    site.desk.client.hset(site.desk.keys.cursors(f"node:{section}"), "place", "7")


def test_the_list_says_what_nobody_reads(site: Site) -> None:
    site.configure(BROKER)
    site.build()
    leave(site, "old")

    told = site.run("state", "list", "--json").json()

    assert told["unread"] == [{"queue": "old", "waiting": 3, "dead": 1}]
    assert told["positions"] == [{"owner": "node:worker_gone", "number": 1}]
    assert told["build"] == 1
    assert told["state"]


def test_bundles_that_are_stored_are_not_to_be_stored(site: Site) -> None:
    site.configure(BROKER)
    site.build()
    folder = site.root / "data" / "feeds" / "bundles" / "2026-11-22" / "05"
    folder.mkdir(parents=True)
    (folder / "a.tar.zst.stored").touch()
    (folder / "b.tar.zst").touch()

    assert site.run("state", "list").lines[-1] == "on the disk: bundles to be stored: 1"
    assert site.run("state", "list", "--json").json()["disk"]["bundles to be stored"] == 1


def test_what_nobody_reads_is_given_to_another_queue(site: Site) -> None:
    site.configure(BROKER)
    site.build()
    leave(site, "old")

    ran = site.run("state", "adopt", "old", "lines")

    assert ran.out == "4 messages went from old to lines\n"
    assert site.desk.waiting("lines") == bodies(3)
    assert len(site.dead("lines")) == 1
    assert site.run("ledger").code == 0


def test_what_nobody_reads_is_let_go(site: Site) -> None:
    site.configure(BROKER)
    site.build()
    leave(site, "old")

    ran = site.run("state", "drop", "old")

    assert ran.out == "4 messages of old are gone\n"
    assert site.desk.books("old").dropped == {"operator": 4}
    assert site.run("ledger").code == 0


@pytest.mark.parametrize(("what", "words"), [("lines", "is read by a section"), ("nothing", "no queue nothing")])
def test_what_is_read_is_left_alone(site: Site, what: str, words: str) -> None:
    site.configure(BROKER)
    site.build()
    site.desk.push("lines", *bodies(2))

    ran = site.run("state", "drop", what)

    assert ran.code == 1
    assert words in ran.err
    assert site.desk.waiting("lines") == bodies(2)


def test_positions_of_a_section_that_is_gone_are_given_to_another_or_let_go(site: Site) -> None:
    site.configure(BROKER)
    site.build()
    leave(site, "old")
    leave(site, "old", "worker_other")

    adopted = site.run("state", "adopt", "node:worker_gone", "worker_broker")
    dropped = site.run("state", "drop", "node:worker_other")

    assert adopted.out == "worker_broker takes over 1 of 1 position of node:worker_gone\n"
    assert dropped.out == "1 position of node:worker_other is gone\n"
    assert site.desk.client.hgetall(site.desk.keys.cursors("node:worker_broker")) == {b"place": b"7"}


def test_a_state_is_moved_to_another_namespace(site: Site, namespace: str) -> None:
    site.configure(BROKER)
    site.build()
    leave(site, "lines")
    batch = Batch()
    batch.cursors.append(Position("place", None, "x" * 5000))
    site.desk.worker(None, 3).commit(batch, prefix=True)
    file = site.root / "state.jsonl"

    exported = site.run("state", "export", str(file))
    site.head = site.head.replace(namespace, f"{namespace}-new")
    site.configure(BROKER)
    built = site.run("config", "build", "--yes")
    imported = site.run("state", "import", str(file))

    old, new = Keys(namespace), Keys(f"{namespace}-new")
    assert (exported.code, built.code, imported.code) == (0, 0, 0), exported.err + built.err + imported.err
    for key in site.desk.client.keys(f"{old.prefix}*"):
        other = key.decode().replace(old.prefix, new.prefix)
        assert site.desk.client.type(other) == site.desk.client.type(key)
    copied = Desk(site.desk.client, f"{namespace}-new")
    assert copied.waiting("lines") == bodies(3)
    assert copied.client.hget(new.cursors("node:stage"), "place") == b"x" * 5000
    assert site.run("ledger").code == 0


def test_an_export_that_was_broken_off_is_refused(site: Site, namespace: str) -> None:
    site.desk.push("lines", *bodies(3))
    site.desk.worker("lines")
    lines = list(dump(site.desk.client, site.desk.keys))

    check(lines)
    with pytest.raises(Exception, match="broken off"):
        check(lines[:-1])
    with pytest.raises(Exception, match="has a state of its own"):
        restore(site.desk.client, site.desk.keys, lines)


def test_an_import_that_was_broken_off_is_done_anew_and_nothing_comes_twice(site: Site, namespace: str) -> None:
    site.desk.worker("lines")
    site.desk.push("lines", *bodies(3))
    lines = list(dump(site.desk.client, site.desk.keys))
    copy = Desk(site.desk.client, f"{namespace}-new")
    with pytest.raises(msgspec.DecodeError):
        restore(copy.client, copy.keys, [*lines[:-2], b"broken off", b""])
    assert copy.waiting("lines") == bodies(3)

    restore(copy.client, copy.keys, lines)

    assert copy.waiting("lines") == bodies(3)
    assert not [key for key in copy.client.keys(f"{copy.keys.prefix}*") if b"restoring" in key]


def test_an_import_leaves_alone_what_others_pushed_before_any_worker_came(site: Site, namespace: str) -> None:
    site.desk.worker("lines")
    lines = list(dump(site.desk.client, site.desk.keys))
    copy = Desk(site.desk.client, f"{namespace}-new")
    copy.push("lines", *bodies(2))

    with pytest.raises(Exception, match="has a state of its own"):
        restore(copy.client, copy.keys, lines)

    assert copy.waiting("lines") == bodies(2)


def test_a_build_for_another_namespace_asks_first(site: Site, namespace: str) -> None:
    site.configure(BROKER)
    site.build()
    site.desk.worker("lines")
    site.desk.push("lines", *bodies(2))
    site.head = site.head.replace(namespace, f"{namespace}-new")
    site.configure(BROKER)

    refused = site.run("config", "build")

    assert refused.code == 2
    assert "2 messages, and the positions of 0 sections, stay behind" in refused.err
    assert refused.err.endswith("nothing was changed\n")


@pytest.mark.usefixtures("long_lease")
def test_for_an_export_workers_are_to_be_stopped_and_redis_is_not(site: Site) -> None:
    site.configure(BROKER)
    site.desk.worker("lines").beat({"state": "idle"})

    refused = site.run("state", "export", str(site.root / "state.jsonl"))

    assert (refused.code, refused.err.rpartition("; ")[2]) == (1, "first: run/supervisorctl stop stage:\n")


@pytest.mark.parametrize(("path", "asked"), [("logs/access*.log", True), ("./logs/access.log", False)])
def test_a_build_asks_before_a_renamed_section_reads_logs_again(site: Site, path: str, asked: bool) -> None:
    tail = "[logger_{}]\nstage = tail\nlogfile = {}\nservicename = s\npushto = lines\n" + BROKER
    site.configure(tail.format("old", "logs/access.log"))
    site.build()
    site.desk.client.hset(site.desk.keys.cursors("node:logger_old"), "place", "7")
    site.configure(tail.format("new", path))

    ran = site.run("config", "build")

    words = "logger_old ends, and logger_new would not go on with its 1 position, but read its logs again"
    assert (ran.code, words in ran.err) == ((2, True) if asked else (0, False))


def test_a_build_tells_what_becomes_of_messages(site: Site) -> None:
    site.configure(BROKER)
    site.build()
    site.desk.worker("lines")
    site.desk.push("lines", *bodies(2))

    site.configure(BROKER.replace("lines", "others"))
    renamed = site.run("config", "build", "--dry-run")
    site.configure("[worker_new]\nstage = broker\nlistento = others\nfanout = kept\n")
    orphaned = site.run("config", "build")

    assert "worker_broker reads others instead of lines: 2 messages move there" in renamed.lines
    assert "2 messages are in lines, which nobody would read any more" in orphaned.err
    assert orphaned.code == 2
    done = site.run("config", "build", "--yes")
    assert done.code == 0
    assert any(line.startswith("confirmed by --yes: 2 messages are in lines, which") for line in done.lines)


def test_a_build_that_ends_most_programs_asks_first(site: Site) -> None:
    site.build()
    site.configure(BROKER)

    refused = site.run("config", "build")
    done = site.run("config", "build", "--yes")

    assert refused.code == 2
    assert "5 of 5 programs end: " in refused.err
    assert done.code == 0


def test_swapped_queues_are_asked_about(site: Site) -> None:
    two = BROKER + "[worker_second]\nstage = broker\nlistento = kept\nfanout = end\n"
    site.configure(two)
    site.build()
    site.desk.worker("kept")
    site.desk.push("kept", *bodies(2))
    site.configure(two.replace("listento = lines", "listento = x").replace("kept", "lines").replace("x", "kept"))

    refused = site.run("config", "build")

    assert "2 messages are in kept for worker_second, and worker_broker would take them" in refused.err


def test_a_copy_of_an_instance_is_refused_until_it_is_one_of_its_own(tmp_path: Path, site: Site) -> None:
    first, copy = tmp_path / "first", tmp_path / "copy"
    for root in (first, copy):
        (root / "data").mkdir(parents=True)
    facts = claim(Instance(first), "node")
    (copy / "data/instance").write_bytes((first / "data/instance").read_bytes())
    (copy / "loglines.cfg").write_text(site.head + BROKER)

    refused = site.run("config", "build", "--root", str(copy))
    forked = site.run("state", "fork", "--root", str(copy))
    built = site.run("config", "build", "--root", str(copy))

    assert refused.code == 2
    assert f"is a copy of the instance in {first}" in refused.err
    assert (forked.code, built.code) == (0, 0)
    other = read_facts(Instance(copy))
    assert other is not None
    assert other.id != facts.id


def test_an_instance_that_was_moved_keeps_its_id(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    (first / "data").mkdir(parents=True)
    before = claim(Instance(first), "node")
    first.rename(second)

    after = claim(Instance(second), "other")

    assert (after.id, after.node, after.root) == (before.id, "node", str(second))


TAILS = "[logger_{}]\nstage = tail\nlogfile = {}\nservicename = s\npushto = lines\n"


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ([("one", "a.log"), ("two", "b.log")], "logger_two is new and works on {}, as logger_both did: takes over its"),
        ([("both", "a.log"), ("two", "b.log")], "logger_two works on {} from now on: goes on where logger_both left"),
    ],
)
def test_a_build_tells_which_sections_divide_what_one_had(site: Site, after: list[tuple[str, str]], said: str) -> None:
    site.configure(BROKER + TAILS.format("both", "a.log, b.log"))
    site.build()
    site.configure(BROKER + "".join(TAILS.format(*section) for section in after))

    built = site.run("config", "build", "--yes")

    assert said.format(site.root.resolve() / "b.log") in built.out


def test_a_build_tells_which_queue_nobody_reads_any_more_though_it_is_empty_yet(site: Site) -> None:
    site.configure(BROKER)
    site.build()
    site.configure(BROKER.replace("worker_broker", "worker_other").replace("lines", "rows"))

    built = site.run("config", "build", "--yes")

    assert "nobody reads lines any more: what comes there before `supervisorctl update` stays" in built.out


@pytest.mark.parametrize("action", [["drop"], ["adopt"]], ids=["drop", "adopt"])
def test_positions_that_a_section_goes_on_with_are_left_alone(site: Site, action: list[str]) -> None:
    site.configure(BROKER)
    site.build()
    leave(site, "old", "worker_broker")

    ran = site.run("state", *action, "node:worker_broker", *(["worker_broker"] if action == ["adopt"] else []))

    assert ran.code == 1
    assert "[worker_broker] is configured, and goes on with its positions" in ran.err
    assert site.desk.client.hgetall(site.desk.keys.cursors("node:worker_broker")) == {b"place": b"7"}


def test_an_instance_that_is_no_copy_is_not_forked(site: Site) -> None:
    site.configure(BROKER)
    site.build()
    before = read_facts(Instance(site.root.resolve()))

    ran = site.run("state", "fork")

    assert ran.code == 1
    assert "is no copy" in ran.err
    assert read_facts(Instance(site.root.resolve())) == before


def test_no_worker_starts_while_a_state_is_being_imported(site: Site) -> None:
    site.desk.client.set(site.desk.keys.restoring, "1")

    with pytest.raises(ConfigError, match="a state is being imported"):
        site.desk.worker("lines")
