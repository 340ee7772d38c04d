"""`aggregator status`: one screen, also when half of it is away."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
from msgspec.structs import replace

from aggregator.monitor.snapshot import take
from aggregator.monitor.snapshotjson import as_json
from aggregator.runtime.ledger import Account
from tests.commands.conftest import Site
from tests.runtime.desk import bodies
from tests.servers import RedisServer, wait_until

FOR_REAL = """
[worker_broker]
stage = broker
listento = lines
fanout = kept
"""


def test_without_supervisord_the_rest_is_shown_and_that_is_said(site: Site) -> None:
    site.desk.push("lines", *bodies(3))
    site.desk.worker("lines")

    ran = site.run("status")

    assert ran.code == 0
    assert "supervisord does not run here: what is below comes from Redis alone" in ran.lines
    assert any(line.split()[:3] == ["lines", "worker_copy", "3"] for line in ran.lines)
    assert any(line.startswith("worker_ask_1  tests.samplestages:Caller") for line in ran.lines)


def test_without_redis_that_is_said_and_the_rest_is_shown(site: Site) -> None:
    site.head = "[redis]\nurl = unix:///nowhere/redis.sock\n"
    site.configure("[worker_keep]\nstage = tests.samplestages:Keeper\nlistento = kept\nlogfile = x\n")

    ran = site.run("status")

    assert ran.code == 0
    assert any(line.startswith("Redis at unix:///nowhere/redis.sock is away:") for line in ran.lines)
    assert any(line.startswith("worker_keep") for line in ran.lines)
    assert "supervisord does not run here" in ran.lines, "and nothing comes from Redis"


@pytest.mark.usefixtures("long_lease")
def test_a_real_worker_is_shown_as_it_works(site: Site) -> None:
    site.configure(FOR_REAL)
    site.desk.push("lines", *bodies(5))
    process = site.start("work", "worker_broker", "0")

    try:
        wait_until(lambda: site.desk.books("lines").out == 5)
        wait_until(lambda: worker(site)["state"] == "idle")
        shown = worker(site)
        section = site.run("status", "--json").json()["sections"][0]
    finally:
        process.terminate()
        process.communicate(timeout=60)

    assert (shown["pid"], shown["alive"], shown["name"]) == (process.pid, True, "node:worker_broker_0")
    assert shown["rss_kb"] > 1000
    assert section["last_success_age_s"] < 60
    assert (section["stage"], section["listens"], section["feeds"]) == ("broker", "lines", ["kept"])


def worker(site: Site) -> dict[str, object]:
    """Return what status says of the one worker."""
    (section,) = site.run("status", "--json").json()["sections"]
    found: dict[str, object] = section["processes"][0]["worker"] or {"state": None}
    return found


def test_a_worker_that_shows_no_life_for_a_lease_is_not_alive(site: Site) -> None:
    site.configure(FOR_REAL)
    process = site.start("work", "worker_broker", "0")

    try:
        wait_until(lambda: worker(site).get("alive"))
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: not worker(site)["alive"])
        line = next(line for line in site.run("status").lines if line.startswith("worker_broker"))
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.communicate(timeout=60)

    assert "silent" in line


@pytest.mark.usefixtures("long_lease")
def test_living_workers_of_other_nodes_are_shown_below(site: Site) -> None:
    worker = site.desk.worker("lines", 7)
    worker.beat({"state": "busy", "pid": 4711})

    found = site.run("status", "--json").json()

    assert [(w["name"], w["state"]) for w in found["elsewhere"]] == [("node:stage_7", "busy")]
    assert any(line.startswith("node:stage_7") and "elsewhere" in line for line in site.run("status").lines)


def test_what_a_worker_elsewhere_says_stays_on_its_line(site: Site) -> None:
    site.desk.worker("lines", 7).beat({"state": "paused", "reason": "one\ntwo \x1b[2J"})

    [line] = [line for line in site.run("status").lines if line.startswith("node:stage_7")]

    assert line.endswith("one two \\x1b[2J")


def test_what_redis_could_lose_is_said(site: Site, tmp_path: Path) -> None:
    with RedisServer(tmp_path / "unsafe", appendonly=False) as server:
        site.head = f"[redis]\nurl = {server.url}\n"
        site.configure(FOR_REAL)

        warnings = site.run("status", "--json").json()["redis"]["warnings"]

    assert len(warnings) == 1
    assert "append-only file" in warnings[0]


def test_the_counters_of_all_processes_of_a_source_are_added(site: Site) -> None:
    snapshot = take(site.config())
    first = Account(name="node:logger_feed_0", in_=0, out=0, dropped={}, dead=0, counts={"cut": 2, "escaped": 1})
    second = replace(first, name="node:logger_feed_1", counts={"cut": 3})
    section = replace(snapshot.sections[0], accounts=(first, second))

    shown = as_json(replace(snapshot, sections=(section,)))

    assert shown["sections"][0]["counts"] == {"cut": 5, "escaped": 1}


def test_no_colours_outside_a_terminal(site: Site) -> None:
    assert "\x1b" not in site.run("status").out


def test_watch_shows_it_again_and_again_until_interrupted(site: Site) -> None:
    process = site.start("status", "--watch", "0.1")
    assert process.stdout

    heads = 0
    for line in process.stdout:
        heads += line.startswith("aggregator ")
        if heads == 3:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert err == ""


def test_a_settings_file_elsewhere_and_a_root_are_taken(site: Site, tmp_path: Path) -> None:
    elsewhere = tmp_path / "other.cfg"
    shutil.move(site.root / "loglines.cfg", elsewhere)

    assert site.run("queues").code == 2
    assert site.run("-s", str(elsewhere), "queues").code == 0
    assert site.run("queues", "-s", str(elsewhere)).code == 0
