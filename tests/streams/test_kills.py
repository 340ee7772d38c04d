"""Whole pipelines from a platform's double into files, while everything is killed."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from aggregator.runtime.connection import AWAY
from tests.instance import Instance
from tests.servers import wait_until
from tests.streams.platforms import Publisher
from tests.streams.recorded import lines_in

VICTIMS = ("stream_s_0", "worker_record_0", "process_redis_0")
CONFIGURATION = """
[stream_s]
type = TYPE
url = URL
pushto = events

[worker_record]
stage = record
listento = events
save_interval = 2s
"""


def numbers(root: Path) -> Counter[int]:
    """Return the numbers of the events in the files of the stream, with how often each is there."""
    found: Counter[int] = Counter()
    for path in (root / "data/streams/s").rglob("*.jsonl.gz"):
        found.update(json.loads(line)["n"] for line in lines_in(path))
    return found


def gaps(root: Path) -> list[dict[str, Any]]:
    path = root / "data/streams/s/s.gaps.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def is_in_a_gap(moment_ms: int, known: list[dict[str, Any]]) -> bool:
    return any(gap["from_ms"] <= moment_ms <= gap["to_ms"] for gap in known)


def kill_round(instance: Instance, publisher: Publisher) -> None:
    """Cut the connection or kill somebody, and wait until events flow again."""
    victim = random.choice((*VICTIMS, "the connection"))
    if victim == "the connection":
        publisher.cut()
    else:
        instance.kill(victim)
    then = len(publisher.published)
    wait_until(lambda: max(numbers(instance.root)) > then + 50, 60, f"events flow again after {victim}")


def balanced(instance: Instance) -> bool:
    try:
        return all(account.balanced for account in instance.books().values())
    except AWAY:
        return False


def run(rounds: int, kind: str, path: str, *, resumes: bool) -> tuple[Counter[int], list[int], list[dict[str, Any]]]:
    """Kill in rounds. Returns the events in the files, when each event was published, and the gaps."""
    with Publisher(resumes=resumes) as publisher:
        url = publisher.url.replace("/stream", path)
        with Instance(CONFIGURATION.replace("TYPE", kind).replace("URL", url)) as instance:
            instance.start()
            wait_until(lambda: sum(numbers(instance.root).values()) > 50, 60, "events flow")
            first = min(numbers(instance.root))
            for _ in range(rounds):
                kill_round(instance, publisher)
            publisher.stop_publishing()
            last = len(publisher.published) - 1
            wait_until(lambda: last in numbers(instance.root), 60, f"the last event {last} is on the disk")
            wait_until(lambda: balanced(instance), 60, "the books balance")
            return numbers(instance.root), publisher.published[: last + 1], [*gaps(instance.root), {"first": first}]


def check_resumable(rounds: int) -> None:
    found, published, known = run(rounds, "wikimedia", "/stream", resumes=True)
    first = known.pop()["first"]

    assert [n for n in range(first, len(published)) if found[n] != 1] == []
    assert known == []


def check_not_resumable(rounds: int) -> None:
    found, published, known = run(rounds, "ndjson", "/lines", resumes=False)
    first = known.pop()["first"]

    assert [n for n, count in found.items() if count != 1] == []
    missing = [n for n in range(first, len(published)) if not found[n]]
    assert [n for n in missing if not is_in_a_gap(published[n], known)] == []


@pytest.mark.timeout(300)
def test_a_stream_that_resumes_is_on_the_disk_once_whatever_is_killed() -> None:
    check_resumable(5)


@pytest.mark.timeout(300)
def test_what_a_stream_that_cannot_resume_misses_lies_in_a_gap() -> None:
    check_not_resumable(5)


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_a_hundred_rounds_of_a_stream_that_resumes() -> None:
    check_resumable(100)


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_a_hundred_rounds_of_a_stream_that_cannot_resume() -> None:
    check_not_resumable(100)
