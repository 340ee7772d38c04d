"""What `make run` starts: the configuration that comes with the program, with other ports and shorter times."""

from __future__ import annotations

import json
import re
import shlex
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.instance import Instance
from tests.processes import PROJECT
from tests.servers import free_port, wait_until
from tests.streams.recorded import lines_in


@pytest.fixture(scope="module")
def ports() -> dict[str, str]:
    """The ports of the demo, and those that take their places."""
    return {port: str(free_port()) for port in ("9001", "8977", "8978", "8979")}


@pytest.fixture(scope="module")
def demo(ports: dict[str, str]) -> Iterator[Instance]:
    """The demo as it runs."""
    text = (PROJECT / "loglines.cfg").read_text()
    for old, new in {**ports, "--cut-every 90": "--cut-every 3", "save_interval = 1m": "save_interval = 2s"}.items():
        assert re.search(rf"\b{old}\b" if old.isdecimal() else old, text), old
        text = re.sub(rf"\b{old}\b" if old.isdecimal() else old, new, text)
    with Instance("") as instance:
        instance.file.write_text(text)
        instance.start()
        yield instance


def stats(ports: dict[str, str]) -> Any:
    """Return what the server of the demo's stream counted."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ports['8979']}/stats", timeout=30) as answer:
        return json.load(answer)


def disconnects(instance: Instance) -> int:
    """Return how many disconnects of the demo's stream are recorded."""
    [stream] = instance.json("streams", "gaps", "demo-changes")["streams"]
    return int(stream["causes"].get("disconnect", {}).get("gaps", 0))


def recorded(instance: Instance, stream: str) -> list[Any]:
    """Return the events of a stream that are on the disk."""
    paths = sorted((instance.root / "data/streams" / stream).glob("*/*/*/*/*.jsonl.gz"))
    return [json.loads(line) for path in paths for line in lines_in(path)]


def test_the_stream_is_recorded_and_each_planned_disconnect_is_a_gap(demo: Instance, ports: dict[str, str]) -> None:
    wait_until(lambda: disconnects(demo) >= 2, 60, "two disconnects are recorded")

    # one more may have happened that has no record yet
    known, cut = disconnects(demo), stats(ports)["cut"]
    assert known <= cut
    wait_until(lambda: disconnects(demo) >= cut, 30, "every disconnect is recorded")
    folder = demo.root / "data/streams/demo-changes"
    wait_until(lambda: len(list(folder.rglob("*.jsonl.gz.json"))) >= 2, 30, "two files are finished")
    offsets = [event["meta"]["offset"] for event in recorded(demo, "demo-changes")]
    assert len(offsets) > 20 and offsets == sorted(set(offsets))
    assert re.search(r"^demo-changes +disconnect +[1-9]", demo.cli("streams", "gaps").stdout, re.MULTILINE)
    found = {finding["about"] for finding in demo.json("health")["findings"]}
    assert not found & {"stream_demo-changes", "worker_record", "data/streams"}
    assert demo.cli("ledger").returncode == 0


def test_a_second_stream_comes_and_goes_as_the_readme_says(demo: Instance, ports: dict[str, str]) -> None:
    readme = (PROJECT / "README.md").read_text().replace("8979", ports["8979"])
    added = re.search(r"^run/aggregator (streams add .*?)(?:   .*)?$", readme, re.MULTILINE)
    removed = re.search(r"^run/aggregator (streams remove .*?)(?:   .*)?$", readme, re.MULTILINE)
    assert added and removed
    text, before = demo.file.read_text(), demo.pids()

    assert demo.cli(*shlex.split(added[1])).stdout.splitlines()[-1] == "stream_new-pages: added"

    wait_until(lambda: recorded(demo, "new-pages"), 60, "it is recorded")
    assert {event["type"] for event in recorded(demo, "new-pages")} == {"new"}
    assert {name: pid for name, pid in demo.pids().items() if name != "stream_new-pages_0"} == before
    assert [each["state"] for each in demo.json("streams", "list")["streams"]] == ["running", "running"]

    assert "stream_new-pages: removed" in demo.cli(*shlex.split(removed[1])).stdout.splitlines()

    assert demo.pids() == before
    assert demo.file.read_text() == text
    assert recorded(demo, "new-pages")  # what was recorded stays
