"""Streams come and go under a real supervisord, and nothing else is touched."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from aggregator.streams.journal import journals_in
from tests.instance import Instance
from tests.servers import wait_until
from tests.streams.eventserver import event_server

B_KEPT = "b is kept as a draft, and collects nothing; `streams activate b` starts it"
PIPELINE = "\n# the files\n[worker_record]\nstage = record\nlistento = events  ; of all streams\nsave_interval = 1s\n"


@pytest.fixture(scope="module")
def events() -> Iterator[str]:
    """The address of a server of events."""
    with event_server() as url:
        yield url


def words_for(name: str, url: str) -> tuple[str, ...]:
    return "streams", "add", name, "--type", "sse", "--url", url, "--pushto", "events"


def listed(instance: Instance, name: str) -> dict[str, Any]:
    """Return what `list` says of a stream; nothing when it does not list it."""
    found = json.loads(instance.cli("streams", "list", "--json").stdout)["streams"]
    return next((each for each in found if each["name"] == name), {})


def test_streams_are_added_changed_and_removed_while_all_other_pids_stay(events: str) -> None:
    with Instance(PIPELINE) as instance:
        instance.start()
        text, before = instance.file.read_text(), instance.pids()

        added = instance.cli(*words_for("a", events))
        assert (added.returncode, added.stderr) == (0, "")
        assert added.stdout.splitlines()[-1] == "stream_a: added"
        wait_until(lambda: listed(instance, "a").get("events_per_second"), 30, "events came")
        found = listed(instance, "a")
        assert found["state"] == "running" and found["connection"].startswith("since ")
        assert found["last_event_ms"] > 0
        assert {name: pid for name, pid in instance.pids().items() if name != "stream_a_0"} == before

        instance.cli(*words_for("b", events))
        wait_until(lambda: len(instance.pids()) == len(before) + 2, 30, "both run")
        pids = instance.pids()
        edited = instance.cli("streams", "edit", "a", "--stall_after", "5m")
        assert edited.stdout.splitlines()[-1] == "stream_a: restarted"
        wait_until(lambda: "stream_a_0" in instance.pids(), 30, "it runs again")
        after = instance.pids()
        assert after.pop("stream_a_0") != pids.pop("stream_a_0")
        assert after == pids

        refused = instance.cli("streams", "edit", "a", "--type", "twitter_v1", "--max_size", "1")
        assert refused.returncode == 2
        assert "[stream_a] max_size: out of bounds" in refused.stderr
        assert {name: instance.pids()[name] for name in after} == after

        stopped = instance.cli("streams", "deactivate", "b")
        assert stopped.stdout.splitlines()[-2:] == ["stream_b: removed", B_KEPT]
        assert listed(instance, "b")["state"] == "draft"
        instance.cli("streams", "activate", "b")
        wait_until(lambda: "stream_b_0" in instance.pids(), 30, "it runs again")

        for name in ("a", "b"):
            assert instance.cli("streams", "remove", name).returncode == 0
        assert instance.pids() == before
        assert instance.file.read_text() == text
        assert json.loads(instance.cli("streams", "gaps", "--json").stdout)["streams"][0]["stream"] == "a"


def test_a_credential_restarts_the_streams_that_use_it_and_no_other(events: str) -> None:
    credential = "[credential_{}]\nbearer_token = {}\n"
    with Instance(PIPELINE + credential.format("x", "first")) as instance:
        instance.start()
        instance.cli(*words_for("a", events), "--credential", "x")
        instance.cli(*words_for("b", events))
        wait_until(lambda: len(instance.pids()) == 4, 30, "both run")
        before = instance.pids()

        text = instance.file.read_text().replace("bearer_token = first", "bearer_token = second")
        instance.file.write_text(text + credential.format("y", "third"))
        instance.cli("config", "build")
        list(instance.control().update())
        wait_until(lambda: len(instance.pids()) == 4, 30, "all run")
        after = instance.pids()

        assert {name for name in before if after[name] != before[name]} == {"stream_a_0"}


def test_what_a_removed_stream_left_on_the_disk_is_told_until_it_comes_back(events: str) -> None:
    def is_told() -> bool:
        return "spool_left" in {finding["code"] for finding in instance.json("health")["findings"]}

    with Instance(PIPELINE) as instance:
        instance.start()
        instance.cli(*words_for("a", events))
        redis = instance.pids()["process_redis_0"]
        wait_until(lambda: listed(instance, "a").get("last_event_ms"), 30, "events come")
        os.kill(redis, signal.SIGSTOP)
        try:
            wait_until(lambda: journals_in(instance.root)["a"] > 5000, 30, "events wait")
            removed = instance.cli("streams", "remove", "a")
        finally:
            os.kill(redis, signal.SIGCONT)

        assert "received and not delivered" in removed.stdout
        wait_until(is_told, 30, "it is told")
        instance.cli(*words_for("a", events))
        wait_until(lambda: not is_told(), 30, "it is configured again")
        wait_until(lambda: listed(instance, "a").get("last_event_ms"), 30, "events come")
        instance.cli("streams", "remove", "a")
        assert not is_told()


def test_without_supervisord_a_change_takes_effect_at_its_start(events: str) -> None:
    with Instance(PIPELINE) as instance:
        instance.start()
        instance.stop()

        added = instance.cli(*words_for("a", events))
        assert added.stdout.splitlines()[-1] == "supervisord does not run: this takes effect when it starts"
        assert listed(instance, "a")["state"] == "active"
        instance.start()
        assert "stream_a_0" in instance.pids()
        instance.stop()

        instance.cli("streams", "remove", "a")
        instance.start()
        assert "stream_a_0" not in instance.pids()


def test_a_stopped_stream_is_started_by_activating_it(events: str) -> None:
    with Instance(PIPELINE) as instance:
        instance.start()
        instance.cli(*words_for("a", events))
        wait_until(lambda: "stream_a_0" in instance.pids(), 30, "it runs")
        instance.control().stop("stream_a")
        assert listed(instance, "a")["state"] == "stopped"

        activated = instance.cli("streams", "activate", "a")

        assert activated.stdout == "stream_a: started\n"
        assert listed(instance, "a")["state"] == "running"


def test_what_supervisord_refuses_is_told_and_stays_written(events: str) -> None:
    with Instance(PIPELINE) as instance:
        instance.start()
        before = instance.pids()
        foreign = instance.root / "workers_enabled/foreign.conf"
        foreign.write_text("[program:foreign]\n")

        added = instance.cli(*words_for("a", events))

        assert added.returncode == 1
        assert added.stderr.startswith("aggregator: supervisord refuses reloadConfig: it cannot read its files")
        assert added.stderr.endswith("it is written and built; `run/supervisorctl update` brings it in\n")
        assert instance.pids() == before
        foreign.unlink()
        assert instance.cli("streams", "activate", "a").stdout == "stream_a: added\n"
