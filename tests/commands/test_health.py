"""`aggregator health`: each thing that is wrong is one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aggregator.commands.health import Finding, findings
from aggregator.commands.snapshot import Process, Section, Snapshot, take
from aggregator.supervision import ProcessState, build
from tests.commands.conftest import Site
from tests.logs.driving import nobody
from tests.runtime.desk import bodies, forward
from tests.servers import RedisServer


@pytest.fixture
def calm(site: Site) -> Site:
    """An instance that was built and has nothing enabled, so that supervisord is not missed."""
    build(site.config())
    for link in (site.root / "workers_enabled").iterdir():
        link.unlink()
    return site


def errors(site: Site) -> list[str]:
    """Return the lines of `health`, which must fail."""
    ran = site.run("health")
    assert ran.code == 1
    return [line for line in ran.lines if line.startswith("error: ")]


def test_fine_prints_ok(calm: Site) -> None:
    ran = calm.run("health")

    assert (ran.code, ran.out) == (0, "ok\n")


def test_fine_as_json(calm: Site) -> None:
    assert calm.run("health", "--json").json() == {"ok": True, "findings": []}


def test_messages_that_wait_without_a_living_worker(calm: Site) -> None:
    calm.desk.push("lines", *bodies(3))

    words = "error: lines: 3 messages wait, and no worker lives that takes them: worker_copy is disabled"
    assert errors(calm) == [words]


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


def test_requeued_messages_need_a_worker(calm: Site) -> None:
    calm.run("dead", "requeue", *map(str, calm.kill("lines", *bodies(2))))

    assert "error: lines: 2 messages wait" in errors(calm)[0]


def test_messages_that_no_section_reads(calm: Site) -> None:
    calm.desk.push("lines", *bodies(1))
    worker = calm.desk.worker("lines")
    worker.commit(forward(worker.claim(0, 1).messages, "foreign"), prefix=True)

    assert errors(calm) == [
        "error: foreign: 1 messages wait, and no worker lives that takes them: no section here reads it"
    ]


def test_dead_letters_are_a_warning_that_fails_only_when_strict(calm: Site) -> None:
    calm.kill("lines", *bodies(2))

    ran = calm.run("health")

    assert ran.code == 0
    assert ran.lines == ["warning: lines: 2 dead letters; `aggregator dead list --queue lines` shows them", "ok"]
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

    (line,) = errors(calm)

    assert line.startswith("error: redis: Redis at unix:///nowhere/redis.sock is away: ")
    assert line.endswith(f"start it, or correct [redis] in {calm.root}/loglines.cfg")


def test_redis_that_could_lose_data(calm: Site, tmp_path: Path) -> None:
    with RedisServer(tmp_path / "unsafe", appendonly=False) as server:
        calm.head = f"[redis]\nurl = {server.url}\n"
        calm.configure("")

        (line,) = errors(calm)

    assert line.startswith("error: redis: Redis keeps no append-only file")


def test_supervisord_that_does_not_run(site: Site) -> None:
    build(site.config())

    (line,) = errors(site)

    assert line.startswith(f"error: supervisord: no supervisord answers on {site.root}")


def test_files_that_were_not_built_are_a_warning(site: Site) -> None:
    ran = site.run("health")

    assert ran.code == 0
    assert ran.lines[0].startswith("warning: files: ")


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
    site.configure("[process_x]\ncommand = sleep %(ENV_ONLY_SUPERVISORD_HAS_THIS)s\n")

    assert site.run("config", "check").code == 2
    assert site.run("health").code == 0
    assert site.run("status").code == 0


# What needs states of supervisord that are hard to reach: findings on a snapshot that says so.


def with_state(site: Site, state: str, exit_code: int = 0, up_s: int = 100) -> list[Finding]:
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
    told = Section(
        program=section.program,
        enabled=True,
        processes=(Process(name=seen.name, supervised=seen, worker=worker),),
        accounts=section.accounts,
        rate=section.rate,
        success_age_s=section.success_age_s,
    )
    return findings(
        Snapshot(
            config=config,
            supervisor_error="",
            redis_error="",
            redis_warnings=(),
            sections=(told, *snapshot.sections[1:]),
            accounts=snapshot.accounts,
            elsewhere=(),
            workers=snapshot.workers,
            overdue={},
        )
    )


@pytest.mark.parametrize("state", ["FATAL", "BACKOFF"])
def test_a_program_that_does_not_come_up(site: Site, state: str) -> None:
    assert Finding("error", "logger_feed_0", f"{state}: told by it") in with_state(site, state)


def test_an_enabled_program_that_was_stopped(site: Site) -> None:
    assert Finding("error", "logger_feed_0", "enabled, but stopped") in with_state(site, "STOPPED")


def test_a_worker_that_exited(site: Site) -> None:
    assert Finding("error", "logger_feed_0", "exited with code 78; told by it") in with_state(site, "EXITED", 78)


def test_a_running_source_that_is_young_is_fine(site: Site) -> None:
    assert with_state(site, "RUNNING", up_s=30) == []


def test_a_source_that_has_never_brought_anything(site: Site) -> None:
    words = "has brought nothing in the 1 min 40 s it runs; stale_after is 1 min"
    assert with_state(site, "RUNNING", up_s=100) == [Finding("error", "logger_feed", words)]


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
    worker = site.desk.worker("lines")
    worker.beat({"state": "paused", "reason": "the tracker is away", "since": "1"})
    name = worker.identity.name
    renamed = "node:logger_feed_0"
    site.desk.client.rename(site.desk.keys.worker(name), site.desk.keys.worker(renamed))
    site.desk.client.sadd(site.desk.keys.workers, renamed)

    (finding,) = [finding for finding in with_state(site, "RUNNING", up_s=1) if finding.level == "warning"]

    assert finding.about == "logger_feed_0"
    assert finding.text.endswith(": the tracker is away")


def test_a_program_that_supervisord_does_not_know(site: Site) -> None:
    build(site.config())
    snapshot = take(site.config())

    found = findings(
        Snapshot(**{name: getattr(snapshot, name) for name in snapshot.__struct_fields__} | {"supervisor_error": ""})
    )

    assert any("unknown to supervisord" in finding.text for finding in found)
    assert os.path.lexists(site.root / "workers_enabled" / "logger_feed.conf")
