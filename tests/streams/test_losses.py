"""What is missing is in a gap: whatever is lost, whoever is killed, and whatever finds no room meanwhile."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.client import Redis

from aggregator.runtime.context import Context
from aggregator.runtime.kinds import encode
from aggregator.streams.aliveness import Aliveness, read_aliveness, write_aliveness
from aggregator.streams.journal import Journal, Place, Record
from aggregator.streams.losses import Books
from aggregator.streams.messages import Connection, Event
from tests.processes import PROJECT
from tests.runtime.desk import Desk
from tests.servers import wait_until
from tests.streams.capturing import Captured
from tests.streams.platforms import Publisher
from tests.streams.ssedouble import Wikimedia, sent
from tests.streams.test_kills import is_in_a_gap
from tests.streams.test_spool import ROOM

NOW_MS = 1_790_000_000_000
DAY_MS = 24 * 3600 * 1000


class Kept:
    """The books of a stream, with a clock that the test sets; another one in the same folder follows a kill."""

    def __init__(self, root: Path, spool_bytes: int = 1024**2) -> None:
        self.now_ms = NOW_MS
        self.root = root
        self.context = Context(section="stream_s", number=0, node="here", root=root, clock=lambda: self.now_ms / 1000)
        self.journal = Journal(root / "data/streams/.s.journal", spool_bytes)
        self.journal.open(Place())
        self.books = Books("s", self.journal, self.context, None)
        self.books.open()

    def connect(self) -> bool:
        """Make a connection, and record it. Returns False when that found no room."""
        records = self.books.ends_at(self.now_ms, asked_from="", promise_s=0.0)
        connection = Connection(stream="s", at_ms=self.now_ms, type="ndjson", url="http://x/", filters={})
        is_added = self.books.append([*records, Record(encode(connection), self.now_ms)], comes_again=False)
        self.books.connected(self.now_ms)
        return is_added

    def take(self, after_ms: int = 1000) -> bool:
        """Receive an event so much later. Returns False when it found no room."""
        self.now_ms += after_ms
        event = Event(stream="s", received_ms=self.now_ms, event=msgspec.Raw(b'"%s"' % (b"x" * 200)))
        is_added = self.books.append([Record(encode(event), self.now_ms)], comes_again=False)
        self.books.reached(self.now_ms)
        return is_added

    def disconnect(self) -> None:
        self.books.disconnected()
        self.books.interrupted("disconnect", "cut")

    @property
    def note(self) -> Aliveness:
        note = read_aliveness(self.root / "data/streams/.s.alive")
        assert note is not None
        return note

    def found(self, kind: str = "gap") -> list[dict[str, Any]]:
        """Return what is in the journal and was not returned before."""
        messages = [json.loads(record.body) for record in self.journal.take(10_000)[0]]
        return [message for message in messages if message["kind"] == kind]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """The books of a stream that is connected."""
    kept = Kept(tmp_path)
    kept.connect()
    return kept


class Disk:
    """A disk that can be full: no file can be written any more."""

    def __init__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, self._before[1]))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.free()


# a loss that nothing could tell when it happened


def test_the_note_says_that_nothing_is_complete_behind_a_loss(tmp_path: Path) -> None:
    kept = Kept(tmp_path, spool_bytes=2000)
    kept.connect()
    while kept.take():
        pass
    first_ms = kept.now_ms
    for _ in range(60):
        kept.take()
    kept.books.keep()

    assert kept.books.complete_ms == kept.note.complete_ms == first_ms
    assert kept.note.cause == "spool_full"
    again = Kept(tmp_path, spool_bytes=10_000)  # after a kill
    again.now_ms = kept.now_ms + 60_000
    again.connect()
    [gap] = again.found()
    assert gap["from_ms"] <= first_ms and gap["to_ms"] >= again.now_ms and gap["cause"] == "spool_full"


def test_an_orderly_end_without_room_for_the_gap_keeps_the_loss_in_the_note(tmp_path: Path) -> None:
    kept = Kept(tmp_path, spool_bytes=2000)
    kept.connect()
    while kept.take():
        pass
    first_ms = kept.now_ms
    kept.take()
    while kept.journal.append([Record(b"{}", first_ms)]):
        pass
    kept.books.close()

    assert kept.note.complete_ms == first_ms and kept.note.cause == "spool_full"
    [report] = kept.context.reports.values()
    assert report.text == "2 events of s found no room on the disk (spool_full)"


def test_an_orderly_end_with_room_records_the_loss(kept: Kept, disk: Disk) -> None:
    disk.fill()
    kept.take()
    disk.free()
    kept.now_ms += 5000
    kept.books.close()

    [gap] = kept.found()
    assert (gap["to_ms"], gap["lost"], gap["cause"]) == (kept.now_ms, 1, "disk")
    assert kept.note == Aliveness(kept.now_ms - 5000, "stopped", kept.note.per_second)


@pytest.mark.timeout(120)
def test_a_process_that_is_killed_while_events_are_lost_leaves_a_gap_from_the_first(
    tmp_path: Path, redis_client: Redis, redis_url: str, namespace: str
) -> None:
    desk, note = Desk(redis_client, namespace), tmp_path / "data/streams/.capture.alive"
    told = {"stage": "capture", "root": str(tmp_path), "url": redis_url, "namespace": namespace}

    def start(publisher: Publisher) -> subprocess.Popen[bytes]:
        options = {"type": "ndjson", "url": publisher.lines_url, "pushto": "q"}
        command = [sys.executable, "-m", "tests.streams.work", json.dumps(told), json.dumps(options)]
        return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL)

    def sent_on() -> list[dict[str, Any]]:
        return [json.loads(body) for body in desk.waiting("q")]

    def is_told_lost() -> bool:
        known = read_aliveness(note)
        return known is not None and known.cause == "disk"

    with Publisher(resumes=False, pause_s=0.002) as publisher:
        process = start(publisher)
        try:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (ROOM, resource.RLIM_INFINITY))
            wait_until(is_told_lost, message="events are lost, and the note says so")
            then = len(publisher.published)
            wait_until(lambda: len(publisher.published) > then + 1000, message="more are lost")
        finally:
            process.kill()
            process.wait()
        process = start(publisher)
        try:
            wait_until(lambda: any(message["kind"] == "gap" for message in sent_on()), message="a gap is told")
            publisher.stop_publishing()
            last = len(publisher.published) - 1
            wait_until(lambda: sent_on()[-1].get("event") == {"n": last}, message="the last event came")
        finally:
            process.kill()
            process.wait()

    found = {message["event"]["n"] for message in sent_on() if message["kind"] == "event"}
    gaps = [message for message in sent_on() if message["kind"] == "gap"]
    missing = [n for n in range(min(found), last) if n not in found]
    assert len(missing) > 1000
    assert [n for n in missing if not is_in_a_gap(publisher.published[n], gaps)] == []


def test_an_end_on_a_full_disk_fails_nothing(tmp_path: Path, disk: Disk) -> None:
    with (
        Publisher(resumes=False) as publisher,
        Captured(tmp_path, type="ndjson", url=publisher.lines_url) as captured,
    ):
        captured.until(lambda: len(captured.events) > 20)
        disk.fill()
    disk.free()

    with Captured(tmp_path, type="ndjson", url="http://127.0.0.1:1/") as captured:
        captured.step()  # the journal is nobody's


# the record of a gap that finds no room itself


def test_an_outage_whose_own_record_finds_no_room_is_in_the_gap_of_the_loss(kept: Kept, disk: Disk) -> None:
    kept.take()
    kept.disconnect()
    cut_ms = kept.now_ms
    kept.now_ms += 3_600_000
    disk.fill()
    assert not kept.connect()
    assert not kept.take(2000)
    disk.free()
    kept.found()
    assert kept.take(3000)

    messages = [json.loads(record.body) for record in kept.journal.take(100)[0]]
    gap, connection, event = messages
    assert gap["from_ms"] <= cut_ms and gap["to_ms"] == event["received_ms"] == kept.now_ms
    assert gap["cause"] == "disk" and "(disconnect)" in gap["detail"]
    assert (connection["kind"], connection["at_ms"]) == ("connection", cut_ms + 3_600_000)
    assert kept.context.counts["lost_disk"] == 1
    [report] = kept.context.reports.values()
    assert report.text == "1 events of s found no room on the disk (disk)"


def test_a_full_disk_costs_the_platform_one_connection_and_not_one_each_time(tmp_path: Path, disk: Disk) -> None:
    with (
        Publisher(resumes=False) as publisher,
        Captured(tmp_path, type="ndjson", url=publisher.lines_url) as captured,
    ):
        captured.until(lambda: len(captured.events) > 20)
        disk.fill()
        publisher.cut()
        wait_until(lambda: publisher.connections == 2, message="it is connected again")
        then = captured.counts.get("lost_disk", 0)
        wait_until(lambda: captured.counts.get("lost_disk", 0) > then + 100, message="events are lost")
        assert publisher.connections == 2
        disk.free()
        captured.until(captured.has_gaps)
        publisher.stop_publishing()
        last = len(publisher.published) - 1
        captured.until(lambda: captured.events[-1]["n"] == last)

        found = {event["n"] for event in captured.events}
        missing = [n for n in range(min(found), last) if n not in found]
        assert [n for n in missing if not is_in_a_gap(publisher.published[n], captured.gaps)] == []
        assert len(captured.of_kind("connection")) == 2


# a loss is told while it lasts


def test_a_loss_is_told_while_it_lasts_and_a_fault_of_the_disk_is_logged_once(
    kept: Kept, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    disk.fill()
    for _ in range(500):
        kept.take(10)
    disk.free()

    [report] = kept.context.reports.values()
    assert (report.code, report.level, report.lasting) == ("events_lost", "error", True)
    assert "find no room on the disk (disk) since 2026-" in report.text
    assert len([record for record in caplog.records if "journal failed" in record.message]) == 1


def test_room_is_looked_at_while_nothing_can_be_sent_on(tmp_path: Path) -> None:
    with (
        Publisher(resumes=False) as publisher,
        Captured(tmp_path, type="ndjson", url=publisher.lines_url, min_free=1 << 60) as captured,
    ):
        wait_until(lambda: any(code == "disk_low" for code, _ in captured.context.reports), message="it is told")
        assert not captured.messages


# what the platform withheld


def test_a_limit_notice_is_about_the_time_since_the_connection_or_the_last_notice(kept: Kept) -> None:
    begin_ms = kept.now_ms
    for _ in range(10):
        kept.take()
    kept.books.withheld(5000, kept.now_ms)
    kept.disconnect()

    [gap] = kept.found()
    assert (gap["from_ms"], gap["to_ms"], gap["lost"]) == (begin_ms, kept.now_ms, 5000)

    kept.now_ms += 5000
    kept.connect()
    kept.take()
    kept.books.withheld(0, kept.now_ms)
    noticed_ms = kept.now_ms
    kept.take()
    kept.books.withheld(3, kept.now_ms)
    kept.disconnect()
    [_, gap] = kept.found()
    assert (gap["from_ms"], gap["to_ms"], gap["lost"]) == (noticed_ms, kept.now_ms, 3)


def test_limit_notices_of_a_minute_make_one_gap(kept: Kept) -> None:
    begin_ms = kept.now_ms
    for second in range(1, 151):
        kept.books.withheld(2 * second, kept.now_ms + 1000)
        kept.take()
    kept.disconnect()

    gaps = kept.found()
    assert len(gaps) == 3 and sum(gap["lost"] for gap in gaps) == 300
    assert [gap["to_ms"] for gap in gaps[:2]] == [gap["from_ms"] for gap in gaps[1:]]
    assert (gaps[0]["from_ms"], gaps[-1]["to_ms"]) == (begin_ms, kept.now_ms)


def test_a_kill_forgets_no_notice(kept: Kept) -> None:
    begin_ms = kept.now_ms
    kept.take()
    kept.books.withheld(7, kept.now_ms)
    kept.books.keep()

    again = Kept(kept.root)
    [gap] = again.found()
    assert (gap["cause"], gap["from_ms"], gap["to_ms"], gap["lost"]) == ("limit", begin_ms, kept.now_ms, 7)
    assert Kept(kept.root).note.withheld is None


# how far a platform goes back


@pytest.mark.parametrize(("days", "causes"), [(6, []), (8, ["cursor_too_old"])])
def test_a_stop_longer_than_wikimedia_keeps_events_is_a_gap(tmp_path: Path, days: int, causes: list[str]) -> None:
    double, note = Wikimedia(), tmp_path / "data/streams/.s.alive"
    double.plays = [sent([double.event(0)], silent=True), sent([double.event(1)], silent=True)]
    with double:
        captured = Captured(tmp_path, type="wikimedia", url=f"{double.server.url}/v2/stream/")
        with captured:
            captured.until(lambda: len(captured.events) == 1)
        then_ms = int(time.time() * 1000) - days * DAY_MS
        write_aliveness(note, Aliveness(then_ms, "stopped"))
        with captured:
            captured.until(lambda: len(captured.events) == 2)

    assert [gap["cause"] for gap in captured.gaps] == causes
    assert all(gap["from_ms"] <= then_ms and gap["to_ms"] > then_ms + days * DAY_MS for gap in captured.gaps)
    assert len(double.last_ids[1]) > 2


# the end, and the clock


def test_an_orderly_stop_ends_the_reader_at_once_and_is_the_cause(tmp_path: Path) -> None:
    def reads() -> bool:
        return any(thread.name == "reader" for thread in threading.enumerate())

    with (
        Publisher(resumes=False) as publisher,
        Captured(tmp_path, type="ndjson", url=publisher.lines_url) as captured,
    ):
        captured.until(lambda: captured.events)
        captured.context.stopping = True
        wait_until(lambda: not reads(), message="the reader has ended")
        assert "disconnects" not in captured.counts
    note = read_aliveness(tmp_path / "data/streams/.s.alive")
    assert note is not None and note.cause == "stopped"


def test_a_clock_that_is_set_back_during_a_loss_makes_a_gap_and_no_error(kept: Kept, disk: Disk) -> None:
    disk.fill()
    kept.take()
    lost_ms = kept.now_ms
    kept.take(-3_600_000)
    disk.free()
    kept.take(10)

    [gap] = kept.found()
    assert gap["from_ms"] <= lost_ms - 3_600_000 and gap["to_ms"] >= lost_ms and gap["lost"] == 2


def test_a_clock_that_is_set_back_between_two_notices_makes_a_gap(kept: Kept) -> None:
    kept.take(-3_600_000)
    kept.books.withheld(2, kept.now_ms)
    kept.disconnect()

    [gap] = kept.found()
    assert gap["from_ms"] == kept.now_ms and gap["lost"] == 2

    kept.connect()
    kept.take()
    kept.books.withheld(2, kept.now_ms)
    noticed_ms = kept.now_ms
    kept.take(-3_600_000)
    kept.books.withheld(5, kept.now_ms)
    kept.disconnect()
    [_, gap] = kept.found()
    assert (gap["from_ms"], gap["to_ms"], gap["lost"]) == (kept.now_ms, noticed_ms, 5)
