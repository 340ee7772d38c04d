"""`aggregator health`: each thing that is wrong, under a stable code, since when, and what to do."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from aggregator.monitor.finding import Finding
from aggregator.monitor.findings import findings
from aggregator.monitor.snapshot import Process, take
from aggregator.runtime.queue import Identity, Queue
from aggregator.supervision import ProcessState, build
from tests.commands.conftest import Site
from tests.logs.driving import nobody
from tests.runtime.desk import bodies, forward
from tests.servers import RedisServer


@pytest.fixture
def calm(site: Site, long_lease: None) -> Site:
    """An instance that has nothing enabled, so that supervisord is not missed, and whose source is run by hand."""
    build(site.config())
    for link in (site.root / "workers_enabled").iterdir():
        link.unlink()
    by_hand(site, "logger_feed")
    return site


def by_hand(site: Site, section: str, listens: str | None = None, **facts: str | int) -> Queue:
    """Return a living worker of a section."""
    queue = Queue(site.desk.client, site.desk.keys, Identity(section, 0, "node"), listens)
    queue.start({"section": section})
    queue.beat({"state": "idle", **facts})
    return queue


def told(site: Site) -> list[dict[str, Any]]:
    """Return the findings of `health --json`."""
    found: list[dict[str, Any]] = site.run("health", "--json").json()["findings"]
    return found


def errors(site: Site) -> list[str]:
    """Return the lines of `health`, which must fail."""
    ran = site.run("health")
    assert ran.code == 1
    return [line for line in ran.lines if line.startswith("error: ")]


def test_fine_prints_ok(calm: Site) -> None:
    ran = calm.run("health")

    assert (ran.code, ran.out) == (0, "ok\n")


def test_fine_as_json(calm: Site) -> None:
    assert calm.run("health", "--json").json() == {"ok": True, "failed": False, "findings": []}


def test_messages_that_wait_without_a_living_worker(calm: Site) -> None:
    calm.desk.push("lines", *bodies(3))

    words = "error: lines: 3 messages wait, and no worker lives that takes them: worker_copy is disabled"
    assert errors(calm) == [words]
    (finding,) = told(calm)
    assert (finding["code"], finding["do"]) == ("messages_wait", "Start it: `run/aggregator enable worker_copy`.")
    assert time.time() - 600 < finding["since"] <= time.time()


def test_messages_held_by_a_dead_worker_wait_too(calm: Site) -> None:
    calm.desk.push("lines", *bodies(3))
    worker = calm.desk.worker("lines")
    worker.claim(0, 3)

    assert "error: lines: 3 messages wait" in errors(calm)[0]


@pytest.mark.usefixtures("long_lease")
def test_a_living_worker_is_enough(calm: Site) -> None:
    calm.desk.push("lines", *bodies(3))
    calm.desk.worker("lines").beat({"state": "busy"})

    assert calm.run("health").code == 0


def test_messages_delayed_for_later_need_no_worker_yet(calm: Site) -> None:
    calm.desk.client.zadd(calm.desk.keys.delayed("lines"), {'!{"id":1}\n{}': 4e9})
    calm.desk.client.hset(calm.desk.keys.books("lines"), "in", 1)

    assert calm.run("health").code == 0


def test_timers_that_are_due_are_called_timers(calm: Site) -> None:
    calm.desk.client.zadd(calm.desk.keys.timers("lines"), {"a": 1.0, "b": 1.0, "later": 4e9})
    calm.desk.client.hset(calm.desk.keys.timed("lines"), mapping={"a": "{}", "b": "{}", "later": "{}"})

    assert "error: lines: 2 due timers wait, and no worker lives" in errors(calm)[0]
    calm.desk.push("lines", *bodies(1))
    assert "error: lines: 1 message and 2 due timers wait, and" in errors(calm)[0]


def test_requeued_messages_need_a_worker(calm: Site) -> None:
    calm.run("dead", "requeue", *map(str, calm.kill("lines", *bodies(2))))

    assert "error: lines: 2 messages wait" in errors(calm)[0]


def test_messages_that_no_section_reads(calm: Site) -> None:
    calm.desk.push("lines", *bodies(1))
    worker = calm.desk.worker("lines")
    worker.commit(forward(worker.claim(0, 1).messages, "foreign"), prefix=True)

    assert errors(calm) == [
        "error: foreign: 1 message waits, and no worker lives that takes them: no section here reads it"
    ]


def test_dead_letters_are_a_warning_that_fails_only_when_strict(calm: Site) -> None:
    calm.kill("lines", *bodies(2))

    ran = calm.run("health")

    assert ran.code == 0
    assert ran.lines == [
        "warning: lines: 2 dead letters",
        "  dead_letters. Look at them with `run/aggregator dead list --queue lines`, then requeue or drop them.",
        "1 warning",
    ]
    assert calm.run("health", "--json").json()["ok"] is False
    assert calm.run("health", "--strict").code == 1


def test_books_that_do_not_balance(calm: Site) -> None:
    calm.desk.push("lines", *bodies(2))
    worker = calm.desk.worker("lines")
    worker.claim(0, 2)
    calm.desk.client.delete(calm.desk.keys.held(worker.identity.name))

    assert errors(calm) == [
        "error: lines: books of lines: 2 in, but 0 out + 0 dropped + 0 dead + 0 in flight + 0 delayed: 2 missing"
    ]


def test_redis_away(calm: Site) -> None:
    calm.head = "[redis]\nurl = unix:///nowhere/redis.sock\n"
    calm.configure("")
    calm.build()

    line = errors(calm)[0]

    assert line.startswith("error: redis: Redis at unix:///nowhere/redis.sock is away: ")
    assert line.endswith(f"start it, or correct [redis] in {calm.root}/loglines.cfg")
    assert told(calm)[0]["code"] == "redis_away"


def test_redis_that_could_lose_data(calm: Site, tmp_path: Path) -> None:
    with RedisServer(tmp_path / "unsafe", appendonly=False) as server:
        calm.head = f"[redis]\nurl = {server.url}\n"
        calm.configure("")
        calm.build()

        line = errors(calm)[0]

    assert line.startswith("error: redis: Redis keeps no append-only file")


def test_supervisord_that_does_not_run(site: Site) -> None:
    build(site.config())

    (line,) = errors(site)

    assert line.startswith(f"error: supervisord: no supervisord answers on {site.root}")


@pytest.mark.usefixtures("long_lease")
def test_files_that_were_not_built_are_a_warning(site: Site) -> None:
    by_hand(site, "logger_feed")

    ran = site.run("health")

    assert ran.code == 0
    assert ran.lines[0].startswith("warning: files: ")
    assert ran.lines[1].startswith("  files_not_built. Run `run/aggregator config build`")


def test_files_that_another_user_may_not_read_are_a_warning(calm: Site) -> None:
    assert calm.run("health").code == 0  # and what nobody may not import is imported
    calm.root.chmod(0o755)
    (calm.root / "run" / "password").chmod(0)

    with nobody():
        ran = calm.run("health")

    words = f"cannot be compared with loglines.cfg: {calm.root}/run/password: Permission denied"
    assert f"warning: files: {words}" in ran.lines


def test_a_bad_configuration_is_exit_code_2(site: Site) -> None:
    site.configure("[worker_x]\nstage = brokr\n")

    ran = site.run("health")

    assert ran.code == 2
    assert "did you mean broker?" in ran.err


def test_a_monitor_needs_none_of_the_secrets(site: Site) -> None:
    site.configure("[worker_x]\ncommand = collect %(ENV_ONLY_SUPERVISORD_HAS_THIS)s\n")
    (site.root / "workers_enabled").mkdir()

    assert site.run("config", "check").code == 2
    assert "ENV_ONLY" not in site.run("health").err
    assert site.run("health").code == 1  # nothing was built
    assert site.run("status").code == 0


# What needs states of supervisord that are hard to reach: findings on a snapshot that says so.


def with_state(
    site: Site, state: str, exit_code: int = 0, up_s: int = 100, last_words: str = "", log: str = ""
) -> list[Finding]:
    """Return the findings on an instance whose one enabled process is in a state."""
    site.configure(
        "[logger_feed]\nstage = tests.samplestages:Feeder\npushto = lines\nstale_after = 1m\n"
        "[worker_copy]\nstage = tests.samplestages:Copier\nlistento = lines\nfanout = lines2\n"
    )
    config = site.config()
    build(config)
    (site.root / "workers_enabled" / "worker_copy.conf").unlink()
    seen = ProcessState("logger_feed", "logger_feed_0", state, 7, 1000, 1000 + up_s, exit_code, "told by it")
    snapshot = take(config)
    worker = next((worker for worker in snapshot.workers if worker.section == "logger_feed"), None)
    section = snapshot.sections[0]
    processes = (Process(name=seen.name, supervised=seen, worker=worker, log=log, last_words=last_words),)
    changed = (replace(section, enabled=True, processes=processes), *snapshot.sections[1:])
    return findings(replace(snapshot, supervisor_error="", redis_warnings=(), sections=changed))


def words_of(found: list[Finding]) -> list[tuple[str, str, str, str]]:
    return [(finding.code, finding.level, finding.about, finding.text) for finding in found]


@pytest.mark.parametrize("state", ["FATAL", "BACKOFF"])
def test_a_program_that_does_not_come_up(site: Site, state: str) -> None:
    found = words_of(with_state(site, state, last_words="[redis] Redis refuses us"))

    words = f"{state}: told by it; its log ends: [redis] Redis refuses us"
    assert found[0] == ("program_down", "error", "logger_feed_0", words)


def test_a_program_whose_log_has_no_folder(site: Site) -> None:
    found = with_state(site, "BACKOFF", log=f"{site.root}/gone/feed.log")

    assert found[0].do.startswith(f"Make the folder of its log, {site.root}/gone, which is missing; then `run/")


def test_an_enabled_program_that_was_stopped(site: Site) -> None:
    found = words_of(with_state(site, "STOPPED"))

    assert found[0] == ("program_stopped", "error", "logger_feed_0", "enabled, but stopped")


def test_a_worker_that_exited(site: Site) -> None:
    exited = with_state(site, "EXITED", 78)

    found = words_of(exited)
    assert "`run/supervisorctl restart logger_feed:logger_feed_0`" in exited[0].do, "as supervisord knows it"
    assert found[0] == ("program_exited", "error", "logger_feed_0", "exited with code 78; told by it")


def test_a_running_source_that_is_young_is_fine(site: Site) -> None:
    assert with_state(site, "RUNNING", up_s=30) == []


def test_a_source_that_has_never_brought_anything(site: Site) -> None:
    words = "has brought nothing in the 1 min 40 s it runs; stale_after is 1 min"
    assert words_of(with_state(site, "RUNNING", up_s=100)) == [("source_stale", "error", "logger_feed", words)]


def test_a_source_that_fell_silent(site: Site) -> None:
    name = "node:logger_feed_0"
    site.desk.client.sadd(site.desk.keys.workers, name)
    site.desk.client.hset(site.desk.keys.worker(name), mapping={"section": "logger_feed", "beat_at": 1})
    site.desk.client.hset(site.desk.keys.books(name), mapping={"in": 5, "out": 5, "committed": 1000})

    found = with_state(site, "RUNNING", up_s=100)

    assert any(finding.text.startswith("brought nothing for ") for finding in found)
    assert any(finding.text.startswith("runs, but shows no sign of life for ") for finding in found)


@pytest.mark.usefixtures("long_lease")
def test_a_paused_worker_is_a_warning_with_its_reason(site: Site) -> None:
    by_hand(site, "logger_feed", state="paused", reason="the tracker is away", since=f"{time.time() - 10:.3f}")

    (finding,) = with_state(site, "RUNNING", up_s=1)

    words = "cannot go on: the tracker is away"
    assert words_of([finding]) == [("outage", "warning", "logger_feed_0", words)]
    assert finding.since is not None and time.time() - 600 < finding.since < time.time() - 9


def test_a_program_that_supervisord_does_not_know(site: Site) -> None:
    build(site.config())
    snapshot = take(site.config())

    found = findings(replace(snapshot, supervisor_error=""))

    assert any("unknown to supervisord" in finding.text for finding in found)
    assert os.path.lexists(site.root / "workers_enabled" / "logger_feed.conf")


def test_a_file_that_is_being_edited_disturbs_nobody_who_looks(calm: Site) -> None:
    text = (calm.root / "loglines.cfg").read_text()
    (calm.root / "loglines.cfg").write_text(f"{text}\n[half an ed")

    found = told(calm)

    assert [finding["code"] for finding in found] == ["config_faulty"]
    assert calm.run("queues").code == calm.run("ledger").code == 0
