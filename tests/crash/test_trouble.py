"""What an operator meets, under a true supervisord and through the command line: a broken plugin, a dead tracker."""

from __future__ import annotations

from pathlib import Path

import pytest
import simplejson

from aggregator.runtime.connection import connect
from aggregator.runtime.keys import Keys
from tests.crash.test_pipeline import PIPELINE, SITE, unique_lines
from tests.instance import Instance
from tests.servers import free_port, wait_until

POISON = """
import os
import simplejson

def parseline(jmsg):
    line = simplejson.loads(jmsg)["logline"]
    if line == "raise":
        raise LookupError("no such article")
    if line == "die":
        os._exit(1)
    return {}

def get_openurl_params(c, worker_section, pl):
    return {}
"""
MENDED = """
def parseline(jmsg):
    return {}

def get_openurl_params(c, worker_section, pl):
    return {}
"""
ONE_WORKER = """[worker_pirus2]
stage = openurl
listento = pirus2
repository_plugin = plugins.fragile
endpoint_url = http://127.0.0.1:9/
other_queue = otherlog
maxtries = 2
maxdeliveries = 3
retrydelay = 100ms
[logger_otherlogger]
stage = logfile
listento = otherlog
logfile = data/other.log
format = {logline}
"""


def push(instance: Instance, queue: str, *lines: str) -> None:
    config = instance.config()
    with connect(config.redis.url) as client:
        key = Keys(config.redis.namespace).queue(queue)
        client.rpush(key, *(simplejson.dumps({"service": "here", "logline": line}) for line in lines))


@pytest.mark.timeout(180)
def test_a_poison_message_is_set_aside_shown_and_done_once_the_plugin_is_mended() -> None:
    with Instance(ONE_WORKER) as instance:
        plugin = instance.root / "plugins" / "fragile.py"
        plugin.write_text(POISON)
        instance.start()

        push(instance, "pirus2", "before", "raise", "die", "after")

        other = instance.root / "data" / "other.log"
        wait_until(lambda: instance.books()["pirus2"].dead == 2, 60)
        wait_until(lambda: other.read_text().splitlines() == ["before", "after"], 60)
        listed = instance.json("dead", "list")["letters"]
        shown = [instance.cli("dead", "show", str(letter["id"])).stdout for letter in listed]
        assert any('"raise"' in page and "no such article" in page and "fragile.py" in page for page in shown)
        assert any('"die"' in page and "vanished 3 times" in page for page in shown)

        plugin.write_text(MENDED)
        push(instance, "pirus2", "die-no-more")
        instance.control().stop("worker_pirus2")
        instance.control().start("worker_pirus2")
        assert instance.cli("dead", "requeue", "--all").returncode == 0

        done = ["after", "before", "die", "die-no-more", "raise"]
        wait_until(lambda: sorted(other.read_text().splitlines()) == done, 60)
        assert instance.cli("ledger").returncode == 0


@pytest.mark.timeout(180)
def test_a_tracker_that_is_away_holds_the_sources_back_and_costs_nothing() -> None:
    port, lines = free_port(), unique_lines(6000)
    tracker = f"\n[process_demo_tracker]\ncommand = aggregator demo tracker --port {port} --record data/tracker.log\n"
    text = PIPELINE.partition("[process_demo_tracker]")[0] % {"port": port} + SITE
    text = text.replace("listento = pirus2\n", "listento = pirus2\nmaxdepth = 500\n", 1)
    with Instance(text) as instance:
        log = instance.root / "data" / "access.log"
        log.parent.mkdir()
        log.touch()
        instance.start()

        log.write_text("".join(line + "\n" for line in lines))

        # What is not told yet stays near the bound, all the way up to the file.
        wait_until(lambda: instance.worker("worker_broker_0").get("state") == "held back", 60)
        wait_until(lambda: "open" in instance.worker("worker_pirus2_0").get("note:breaker", ""), 60)
        books = instance.books()["pirus2"]
        assert 500 <= books.ready + books.delayed + books.in_flight <= 500 + 200
        assert books.dead == 0
        assert "held back" in instance.cli("status").stdout

        with open(instance.file, "a") as file:
            file.write(tracker)
        assert instance.cli("config", "build").returncode == 0
        list(instance.control().update())

        everything = instance.root / "data" / "out" / "articles.log"
        wait_until(lambda: _lines(everything) == len(lines), 90)
        assert sorted(everything.read_text().splitlines()) == sorted(lines)
        assert instance.cli("ledger").returncode == 0
        assert all(account.dead == 0 for account in instance.books().values())


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
