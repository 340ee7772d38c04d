"""What is received while nothing can be handed over waits on the disk, and what finds no room there is told."""

from __future__ import annotations

import os
import resource
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.instance import Instance
from tests.servers import wait_until
from tests.streams.capturing import Captured
from tests.streams.platforms import Publisher
from tests.streams.test_kills import gaps as gaps_in
from tests.streams.test_kills import is_in_a_gap, numbers

SPOOL = "1MB"
ROOM = 100_000


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Let no file grow beyond ROOM until `free_the_disk`: a write that crosses it fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    yield
    free_the_disk()


def free_the_disk() -> None:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def check_loss(captured: Captured, publisher: Publisher, cause: str) -> None:
    """Let everything be handed over; what is missing is counted, and lies in gaps of this cause.

    Where a large piece found no room a smaller one may: then there are several.
    """
    captured.until(captured.has_gaps)
    publisher.stop_publishing()
    last = len(publisher.published) - 1
    captured.until(lambda: captured.events and captured.events[-1]["n"] == last)
    found = Counter(event["n"] for event in captured.events)
    missing = [n for n in range(min(found), last) if n not in found]
    gaps = captured.gaps

    assert set(found.values()) == {1}
    assert {gap["cause"] for gap in gaps} == {cause}
    assert sum(gap["lost"] for gap in gaps) == captured.counts[f"lost_{cause}"] == len(missing) > 0
    known = [{**gap, "from_ms": gap["from_ms"] - 1000} for gap in gaps]
    assert all(is_in_a_gap(publisher.published[n], known) for n in missing)
    [report] = captured.context.reports.values()
    assert report.code == "events_lost"
    assert str(len(missing)) in report.text


def test_events_that_find_no_room_in_the_spool_are_counted_in_a_gap(tmp_path: Path) -> None:
    with (
        Publisher(resumes=False, pause_s=0.0001) as publisher,
        Captured(tmp_path, type="ndjson", url=publisher.lines_url, spool_size=SPOOL) as captured,
    ):
        wait_until(lambda: captured.counts.get("lost_spool_full", 0) > 100, message="the spool is full")
        check_loss(captured, publisher, "spool_full")


@pytest.mark.usefixtures("full_disk")
def test_events_that_the_disk_does_not_take_are_counted_in_a_gap(tmp_path: Path) -> None:
    with (
        Publisher(resumes=False, pause_s=0.0001) as publisher,
        Captured(tmp_path, type="ndjson", url=publisher.lines_url) as captured,
    ):
        wait_until(lambda: captured.counts.get("lost_disk", 0) > 100, message="the disk is full")
        free_the_disk()
        check_loss(captured, publisher, "disk")


def test_a_stream_that_can_go_on_later_waits_for_room(tmp_path: Path) -> None:
    with (
        Publisher(resumes=True, pause_s=0.0001) as publisher,
        Captured(tmp_path, type="sse", url=publisher.url, spool_size=SPOOL) as captured,
    ):
        wait_until(lambda: "spool" in captured.context.notes.get("connection", ""), message="the spool is full")
        publisher.stop_publishing()
        last = len(publisher.published) - 1
        captured.until(lambda: captured.events and captured.events[-1]["n"] == last)
        found = [event["n"] for event in captured.events]

        assert found == list(range(found[0], last + 1))
        assert "lost_spool_full" not in captured.counts


@pytest.mark.timeout(300)
def test_redis_may_be_away_and_nothing_is_lost() -> None:
    with Publisher(resumes=False) as publisher:
        configuration = f"""
[stream_s]
type = ndjson
url = {publisher.lines_url}
pushto = events

[worker_record]
stage = record
listento = events
"""
        with Instance(configuration) as instance:
            instance.start()
            wait_until(lambda: sum(numbers(instance.root).values()) > 50, 60, "events flow")
            redis = instance.pids()["process_redis_0"]
            os.kill(redis, signal.SIGSTOP)
            then = len(publisher.published)
            journal = instance.root / "data/streams/.s.journal"
            try:
                wait_until(lambda: len(publisher.published) > then + 2000, 60, "much is published meanwhile")
                waiting = b"".join(path.read_bytes() for path in journal.glob("*.journal"))
            finally:
                os.kill(redis, signal.SIGCONT)
            publisher.stop_publishing()
            last = len(publisher.published) - 1
            wait_until(lambda: last in numbers(instance.root), 60, "the last event is on the disk")
            found = numbers(instance.root)

            assert b'{"n":%d}' % (then + 1000) in waiting
            assert [n for n in range(min(found), last + 1) if found[n] != 1] == []
            assert gaps_in(instance.root) == []
