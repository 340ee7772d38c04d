"""`health` and `status` over an outage, under a true supervisord: never `ok`, and an error once it has lasted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import simplejson

from aggregator.runtime.connection import connect
from aggregator.runtime.keys import Keys
from tests.instance import Instance
from tests.servers import free_port, wait_until

PLUGIN = """
import simplejson

def parseline(jmsg):
    line = simplejson.loads(jmsg)["logline"]
    return {"line": line} if line.startswith("download") else {}

def get_openurl_params(c, worker_section, pl):
    return {"rft_id": pl["line"]}
"""
PIPELINE = """
[aggregator]
outage_after = 3s
[worker_pirus2]
stage = openurl
listento = pirus2
repository_plugin = plugins.simple
endpoint_url = http://127.0.0.1:%d/counter
other_queue = other
pauseonfail = 1s
timeout = 2s
retrydelay = 100ms
concurrency = 2
[logger_other]
stage = logfile
listento = other
logfile = data/other.log
"""
PICKY = """
from aggregator.errors import ConfigError
from aggregator.runtime.contract import Stage

class Picky(Stage):
    def start(self):
        raise ConfigError("the licence\\x1b[2J is missing")

    def handle(self, message):
        return iter(())
"""
TRACKER = "[process_demo_tracker]\ncommand = aggregator demo tracker --port %d --record data/tracker.log\n"


def push(instance: Instance, queue: str, *lines: str) -> None:
    config = instance.config()
    with connect(config.redis.url) as client:
        key = Keys(config.redis.namespace).queue(queue)
        client.rpush(key, *(simplejson.dumps({"service": "here", "logline": line}) for line in lines))


def health(instance: Instance) -> tuple[int, list[dict[str, Any]]]:
    """Return the exit code of `health` and what it found."""
    ran = instance.cli("health", "--json")
    told = simplejson.loads(ran.stdout)
    assert told["failed"] == (ran.returncode == 1)
    return ran.returncode, told["findings"]


@pytest.mark.timeout(240)
def test_a_dead_tracker_is_a_warning_then_an_error_since_it_began_and_ok_again_only_after_an_answer() -> None:
    port = free_port()
    with Instance(PIPELINE % port) as instance:
        (instance.root / "plugins" / "simple.py").write_text(PLUGIN)
        instance.start()
        assert instance.cli("health").stdout.splitlines()[0].startswith("error: instance: nothing is collected")

        push(instance, "pirus2", "other 1", *[f"download {n}" for n in range(20)])
        # from now on what is no download comes through, and it says nothing of the tracker
        seen: list[tuple[int, str, float]] = []

        def look() -> bool:
            push(instance, "pirus2", "other")
            code, found = health(instance)
            away = [finding for finding in found if finding["code"] == "tracker_away"]
            seen.extend((code, finding["level"], finding["since"]) for finding in away)
            assert away or not seen, "an outage is never forgotten"
            return len([level for _, level, _ in seen if level == "error"]) > 3

        wait_until(look, 90, "the outage is an error")
        assert len({since for _, _, since in seen}) == 1
        assert {code for code, level, _ in seen if level == "error"} == {1}
        text = instance.cli("health").stdout
        assert "  tracker_away since " in text and "\nok" not in text
        status = instance.cli("status").stdout
        assert "open since " in status and "next try " in status

        with open(instance.file, "a") as file:
            file.write(TRACKER % port)
        assert instance.cli("config", "build").returncode == 0
        list(instance.control().update())

        wait_until(lambda: health(instance) == (0, []), 90, "everything is told")
        assert instance.cli("health").stdout == "ok\n"


@pytest.mark.timeout(240)
def test_a_full_disk_and_a_reader_that_is_stopped_are_errors_once_they_last(tmp_path: Path) -> None:
    text = (
        "[aggregator]\noutage_after = 2s\n"
        "[logger_in]\nstage = tail\nlogfile = data/in.log\nservicename = here\npushto = lines\nidletime = 100ms\n"
        "[logger_out]\nstage = logfile\nlistento = lines\nlogfile = data/blocked/out.log\nmaxdepth = 10\n"
    )
    with Instance(text) as instance:
        data = instance.root / "data"
        data.mkdir()
        # a file where the folder of the output should be: it cannot be written, as on a disk that fails
        (data / "blocked").write_text("in the way\n")
        (data / "in.log").write_text("".join(f"line {n}\n" for n in range(2000)))
        instance.start()

        def stuck() -> bool:
            code, found = health(instance)
            levels = {(f["code"], f["level"], f["about"]) for f in found}
            return code == 1 and levels == {
                ("outage", "error", "logger_out_0"), ("held_back", "error", "logger_in_0"),
            }  # fmt: skip

        wait_until(stuck, 90, "both are errors")
        success = {s["section"]: s["last_success_age_s"] for s in instance.json("status")["sections"]}
        assert success["logger_out"] is None

        (data / "blocked").unlink()

        wait_until(lambda: _lines(data / "blocked" / "out.log") == 2000, 90)
        wait_until(lambda: health(instance) == (0, []), 90, "both are over")


@pytest.mark.timeout(240)
def test_a_worker_that_exits_too_quickly_says_why(tmp_path: Path) -> None:
    with Instance("[worker_picky]\nstage = plugins.picky:Picky\nlistento = lines\nstartsecs = 9\n") as instance:
        (instance.root / "plugins" / "picky.py").write_text(PICKY)
        instance.start(lambda: instance.control().states())

        def told() -> list[str]:
            return [f["text"] for f in health(instance)[1] if f["code"] == "program_down"]

        wait_until(lambda: any(words.endswith("its log ends: the licence\x1b[2J is missing") for words in told()), 60)
        wait_until(lambda: "the licence\\x1b[2J is missing" in instance.cli("status").stdout, 60)
        assert "\x1b" not in instance.cli("health").stdout


@pytest.mark.timeout(240)
def test_a_worker_that_ends_again_and_again_is_an_error_though_supervisord_finds_it_running() -> None:
    plugin = PICKY.replace("raise ConfigError", "time.sleep(0.5); raise OSError").replace("\n", "\nimport time\n", 1)
    # so short that supervisord takes each process for one that has started well
    with Instance("[worker_picky]\nstage = plugins.picky:Picky\nlistento = lines\nstartsecs = 0\n") as instance:
        (instance.root / "plugins" / "picky.py").write_text(plugin)
        instance.start(lambda: instance.control().states())

        def told() -> list[dict[str, Any]]:
            return [finding for finding in health(instance)[1] if finding["code"] == "program_restarts"]

        found: list[dict[str, Any]] = []
        wait_until(lambda: found.extend(told()) or found, 90, "it is noticed")
        assert (found[0]["level"], found[0]["about"]) == ("error", "worker_picky_0")
        (instance.root / "plugins" / "picky.py").write_text(PICKY.replace("raise ConfigError", "print"))
        push(instance, "lines", "one")
        wait_until(lambda: health(instance) == (0, []), 90, "it is over")


@pytest.mark.timeout(240)
def test_a_redis_at_its_maxmemory_is_an_error_while_nothing_comes_in() -> None:
    text = "[logger_in]\nstage = tail\nlogfile = data/in.log\nservicename = here\npushto = lines\n"
    out = "[logger_out]\nstage = logfile\nlistento = lines\nlogfile = data/out.log\n"
    with Instance("[aggregator]\noutage_after = 2s\n" + text + out) as instance:
        (instance.root / "data").mkdir()
        (instance.root / "data" / "in.log").write_text("one\n")
        instance.start()
        wait_until(lambda: health(instance) == (0, []), 60, "all is well")
        with connect(instance.config().redis.url) as client:
            client.config_set("maxmemory", 1)
            with open(instance.root / "data" / "in.log", "a") as log:
                log.write("two\n")

            wait_until(lambda: ("redis_full", "error", "logger_in_0") in short(instance), 60)

            client.config_set("maxmemory", 0)
        wait_until(lambda: health(instance) == (0, []), 60, "it is over")


def short(instance: Instance) -> list[tuple[str, str, str]]:
    return [(finding["code"], finding["level"], finding["about"]) for finding in health(instance)[1]]


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
