"""Real download workers, killed at random: every planned tick has one record, every feed one next tick."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aggregator.config.loading import load
from aggregator.feeds.bundle.manifest import Tick
from aggregator.feeds.fetching.timing import FeedTiming
from aggregator.feeds.messages.ticks import Downloaded
from aggregator.supervision import build
from tests.feeds.webserver import Talk, WebServer
from tests.runtime.desk import Desk
from tests.servers import wait_until

PERIOD_MS = 400


class Site:
    """A configuration of feeds, and worker processes on it."""

    def __init__(self, root: Path, url: str, namespace: str, desk: Desk) -> None:
        self.root = root
        self.desk = desk
        self.head = f"[redis]\nurl = {url}\nnamespace = {namespace}\n[aggregator]\nnode = here\n"
        self.workers: dict[int, subprocess.Popen[bytes]] = {}

    def configure(self, text: str) -> None:
        (self.root / "loglines.cfg").write_text(
            f"{self.head}[worker_download]\nstage = download\npushto = fetched\nnumprocs = 2\nbackoff = 1s\n{text}"
        )
        self.build()

    def build(self) -> None:
        build(load(self.root / "loglines.cfg", self.root))

    def start(self, number: int, *command: str) -> None:
        usual = ("aggregator", "-r", str(self.root), "work", "worker_download", str(number))
        command = (sys.executable, "-m", *(command or usual))
        with open(self.root / f"worker{number}.log", "ab") as log:
            self.workers[number] = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self, number: int) -> None:
        self.workers[number].kill()
        self.workers[number].wait()

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.terminate()
        for worker in self.workers.values():
            worker.wait(60)

    def told(self) -> list[Downloaded]:
        return [msgspec.json.decode(raw, type=Downloaded) for raw in self.desk.waiting("fetched")]

    def ticks_waiting(self) -> list[str]:
        """Return the feeds of all ticks there are, wherever they wait."""
        keys = self.desk.keys
        entries: list[bytes] = self.desk.waiting("ticks@here")
        entries += self.desk.client.zrange(keys.delayed("ticks@here"), 0, -1)
        entries += self.desk.client.hvals(keys.timed("ticks@here"))
        entries += self.desk.client.lrange(keys.returned("ticks@here"), 0, -1)
        for number in (0, 1):
            entries += self.desk.client.lrange(keys.held(f"here:worker_download_{number}"), 0, -1)
            entries += self.desk.client.lrange(keys.caught("ticks@here", f"here:worker_download_{number}"), 0, -1)
        return sorted(msgspec.json.decode(entry.rpartition(b"\n")[2])["feed"] for entry in entries)


@pytest.fixture
def site(tmp_path: Path, redis_url: str, namespace: str, redis_client: Any) -> Iterator[Site]:
    site = Site(tmp_path, redis_url, namespace, Desk(redis_client, namespace))
    yield site
    for worker in site.workers.values():
        worker.kill()
        worker.wait()


def feed_sections(server: WebServer, count: int, *, first: int = 0, timeout: str = "2s") -> str:
    return "".join(
        f"[feed_f{n}]\nurl = {server.url}/f{n}\nextension = bin\nperiod = {PERIOD_MS}ms\ntimeout = {timeout}\n"
        for n in range(first, first + count)
    )


def test_workers_killed_in_mid_download_lose_and_double_no_tick(site: Site) -> None:
    chance = random.Random(7)

    def sometimes_slowly(talk: Talk) -> None:
        data = random.randbytes(50_000)
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + data[:20_000])
        talk.stop.wait(random.random() * 0.2)
        talk.send(data[20_000:])

    with WebServer() as server:
        server.answers = {f"/f{n}": sometimes_slowly for n in range(8)}
        site.configure(feed_sections(server, 8))
        for number in (0, 1):
            site.start(number)
        wait_until(lambda: len(site.told()) > 10)
        for _ in range(12):
            # killed while something is in flight
            before = len(server.asked)
            wait_until(lambda before=before: len(server.asked) > before)  # type: ignore[misc]
            number = chance.randrange(2)
            site.kill(number)
            site.start(number)
        told = len(site.told())
        # of every feed: until its tick has come again, what a killed worker left of it is still there
        wait_until(lambda: min(Counter(one.feed for one in site.told()[told:])[f"f{n}"] for n in range(8)) > 7, 60)
        site.stop()

    assert site.ticks_waiting() == [f"f{n}" for n in range(8)]
    for n in range(8):
        check_records(site, f"f{n}")
    assert not list(site.root.rglob("*.part"))
    assert site.desk.books("ticks@here").balanced


def check_records(site: Site, feed: str) -> None:
    """Check that every planned time from the first to the last has one record, and that what it tells of is there."""
    planned: list[int] = []
    for told in site.told():
        if told.feed != feed:
            continue
        if told.tick is None:
            assert told.missed_from_ms is not None and told.missed_to_ms is not None
            planned += range(told.missed_from_ms, told.missed_to_ms + 1, PERIOD_MS)
            continue
        planned.append(told.tick.planned_ms)
        if told.tick.outcome == "ok":
            assert hashlib.sha256((site.root / told.file).read_bytes()).hexdigest() == told.tick.sha256
    planned.sort()
    # the first tick of all stands before the grid
    assert planned[1] == FeedTiming(feed, PERIOD_MS).next_after(planned[0])
    assert {later - earlier for earlier, later in pairwise(planned[1:])} == {PERIOD_MS}


def test_of_two_processes_that_start_at_once_one_sends_the_first_ticks(site: Site) -> None:
    with WebServer() as server:
        site.configure(feed_sections(server, 50))

        for number in (0, 1):
            site.start(number)
        wait_until(lambda: len({told.feed for told in site.told()}) == 50, 60)
        site.stop()

    assert site.ticks_waiting() == sorted(f"f{n}" for n in range(50))


def test_a_hung_and_a_dribbling_server_delay_nobody(site: Site) -> None:
    def dribbles(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while not talk.stop.wait(0.05):
            talk.send(b"x")

    def ticks(*feeds: str) -> list[Tick]:
        return [told.tick for told in site.told() if told.feed in feeds and told.tick]

    def oks(feed: str) -> int:
        return sum(tick.outcome == "ok" for tick in ticks(feed))

    with WebServer() as server:
        server.answers = dict.fromkeys(("/f0", "/f2"), Talk.hang) | dict.fromkeys(("/f1", "/f3"), dribbles)
        server.answers |= {f"/f{n}": lambda talk: talk.answer(b"x") for n in range(4, 8)}
        # the first two are under way all the time, the next two are given up and tried again
        under_way, given_up = feed_sections(server, 2, timeout="10m"), feed_sections(server, 2, first=2)
        site.configure(under_way + given_up + feed_sections(server, 4, first=4, timeout="10m"))
        site.start(0)
        wait_until(lambda: server.count("/f0") and server.count("/f1"), 60)
        before = {f"f{n}": oks(f"f{n}") for n in range(4, 8)}
        wait_until(lambda: all(oks(feed) > count + 12 for feed, count in before.items()), 60)
        for feed in ("f2", "f3"):
            wait_until(lambda feed=feed: "no whole answer within 2 s" in {tick.error for tick in ticks(feed)}, 60)  # type: ignore[misc]
        assert server.count("/f0") == server.count("/f1") == 1
        site.stop()

    # a machine that stalls for a period makes a tick late, whatever the servers do
    assert {tick.outcome for tick in ticks("f4", "f5", "f6", "f7")} <= {"ok", "late"}
    assert {tick.outcome for tick in ticks("f0", "f1")} <= {"late"}


def test_sigterm_ends_a_worker_long_before_a_hung_server_is_given_up(site: Site) -> None:
    with WebServer() as server:
        server.answers = {"/f0": lambda talk: talk.hang()}
        site.configure(feed_sections(server, 1, timeout="1h"))
        site.start(0)
        wait_until(lambda: server.count("/f0") == 1)

        site.stop()

    assert site.workers[0].returncode == 0
    assert site.ticks_waiting() == ["f0"]
    assert {told.tick.outcome for told in site.told() if told.tick} <= {"late"}


def test_after_the_clock_was_set_back_the_feeds_go_on_at_once(site: Site) -> None:
    ahead = site.root / "ahead"
    ahead.write_text("3600")
    with WebServer() as server:
        server.answers = {"/f0": lambda talk: talk.answer(b"x")}
        site.configure(feed_sections(server, 1))
        site.start(0, "tests.feeds.oddclock", str(site.root), str(ahead))
        wait_until(lambda: len(site.told()) > 15, 60)
        # the worker reads it all the time, so it is replaced in one step
        (site.root / "back").write_text("0")
        (site.root / "back").rename(ahead)
        assert site.workers[0].wait(60) == 75

        site.start(0, "tests.feeds.oddclock", str(site.root), str(ahead))
        told = len(site.told())
        wait_until(lambda: len(site.told()) > told + 5, 60)
        site.stop()

    by_the_new_clock = [told.tick.planned_ms for told in site.told()[told:] if told.tick]
    assert max(by_the_new_clock) < (time.time() + 60) * 1000
    assert site.ticks_waiting() in (["f0"], ["f0", "f0"]), "the old one rests until the clock has caught up"


def test_ten_thousand_feeds_get_under_way(site: Site) -> None:
    rows = "".join(f"f{n},http://127.0.0.1:9/{n},bin,1h\n" for n in range(10_000))
    (site.root / "feeds.csv").write_text(rows)
    site.configure("")
    text = (site.root / "loglines.cfg").read_text()
    (site.root / "loglines.cfg").write_text(text.replace("[aggregator]\n", "[aggregator]\nfeeds_file = feeds.csv\n"))
    site.build()

    site.start(0)
    wait_until(lambda: site.desk.client.llen(site.desk.keys.queue("fetched")) >= 10_000, 120)
    site.stop()

    assert {(told.tick.outcome, told.tick.error) for told in site.told() if told.tick} == {
        ("failed", "Connection refused")
    }
    assert len(site.ticks_waiting()) == 10_000
