"""The whole log pipeline under a true supervisord, while everything in it is killed."""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections import Counter
from configparser import RawConfigParser
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest
import simplejson

from aggregator.demo.replay import shipped_lines
from plugins import accesslog
from tests.instance import Instance
from tests.servers import free_port, wait_until

LINES = int(os.environ.get("AGGREGATOR_CRASH_LINES", "30000"))
"""How many lines the test sends through; 200,000 are what a release is checked with."""

SITE = """[accesslog]
pattern = /(?P<id>(?:articles|presentations)/[\\w.-]+|blog/(?!tags/)[\\w-]+/[\\w.-]+\\.html)/?
identifier = oai:semicomplete.com:{id}
site = http://www.semicomplete.com
"""

PIPELINE = """[logger_logfilewatcher]
stage = tail
logfile = data/access.log
servicename = semicomplete.com
pushto = loglines
[worker_broker]
stage = broker
listento = loglines
fanout = pirus2, alllog
[worker_pirus2]
stage = openurl
listento = pirus2
numprocs = 3
repository_plugin = plugins.accesslog
endpoint_url = http://127.0.0.1:%(port)d/counter/
timeout = 10s
pauseonfail = 1s
retrydelay = 100ms
concurrency = 8
success_queue = articlelog
other_queue = articlelog
[logger_articlelogger]
stage = logfile
listento = articlelog
logfile = data/out/articles.log
format = {logline}
[logger_alllogger]
stage = logfile
listento = alllog
logfile = data/out/all.log
format = {logline}
[process_demo_tracker]
command = aggregator demo tracker --port %(port)d --slow 0.002 --fail 0.01 --record data/tracker.log
"""


def unique_lines(count: int) -> list[str]:
    """Real log lines, made different from one another by their size field."""
    shipped = [line.decode() if isinstance(line, bytes) else line for line in shipped_lines()]
    return [
        re.sub(r'" (\d{3}) (?:\d+|-) ', rf'" \1 {n} ', shipped[n % len(shipped)].rstrip("\n"), count=1)
        for n in range(count)
    ]


def pings(lines: list[str]) -> Counter[str]:
    """What the tracker must be told at least, by the plugin's own words."""
    config = RawConfigParser()
    config.read_string(SITE)
    config.add_section("worker_pirus2")
    expected: Counter[str] = Counter()
    for line in lines:
        message = simplejson.dumps({"service": "semicomplete.com", "logline": line})
        params = accesslog.get_openurl_params(config, "worker_pirus2", accesslog.parseline(message))
        if params:
            expected[normal(urlencode(params))] += 1
    return expected


def normal(query: str) -> str:
    return urlencode(sorted(parse_qsl(query, keep_blank_values=True)))


class Writer(threading.Thread):
    """A web server: it appends lines, and its log is rotated by rename now and then; the last ones when it is told."""

    def __init__(self, path: Path, lines: list[str]) -> None:
        super().__init__(daemon=True)
        self.path, self.lines = path, lines
        self.written = 0
        self.finish = threading.Event()
        self.done = threading.Event()

    def run(self) -> None:
        for start in range(0, len(self.lines), 250):
            if start + 250 >= len(self.lines):
                self.finish.wait()
            with open(self.path, "a") as log:
                log.writelines(line + "\n" for line in self.lines[start : start + 250])
            self.written = min(start + 250, len(self.lines))
            if start and start % (len(self.lines) // 5 // 250 * 250) == 0:
                for number in range(8, 0, -1):
                    older = self.path.with_name(f"access.log.{number}")
                    if older.exists():
                        older.rename(self.path.with_name(f"access.log.{number + 1}"))
                self.path.rename(self.path.with_name("access.log.1"))
            self.done.wait(0.02)
        self.done.set()


@pytest.mark.timeout(900)
def test_nothing_is_lost_or_doubled_while_everything_is_killed() -> None:
    lines = unique_lines(LINES)
    chance = random.Random(1)
    with Instance(PIPELINE % {"port": free_port()} + SITE) as instance:
        (instance.root / "data").mkdir()
        (instance.root / "data" / "access.log").touch()
        everything, articles = (instance.root / "data" / "out" / name for name in ("all.log", "articles.log"))
        instance.start()
        # What was rotated away before the first look is history: it is not read.
        wait_until(lambda: instance.worker("logger_logfilewatcher_0").get("state") == "idle")
        writer = Writer(instance.root / "data" / "access.log", lines)
        writer.start()
        kills: Counter[str] = Counter()
        redis_kills, supervisor_kills = [0.3, 0.7], [0.5]
        next_kill, done_at_kill = 0.0, -1

        def finished() -> bool:
            """Kill something, and tell whether all lines are through."""
            nonlocal next_kill, done_at_kill
            done = _lines_in(everything) + _lines_in(articles)
            share = _lines_in(everything) / LINES
            if redis_kills and share > redis_kills[0]:
                redis_kills.pop(0)
                instance.kill("process_redis_0")
                kills["redis"] += 1
            elif supervisor_kills and share > supervisor_kills[0]:
                supervisor_kills.pop()
                instance.kill_supervisord()
                instance.start()
                kills["supervisord"] += 1
            elif share < 1 and time.monotonic() > next_kill and (done > done_at_kill or done == 2 * writer.written):
                # On a slow machine nothing would get anywhere if what has just begun were killed again.
                next_kill, done_at_kill = time.monotonic() + 0.35, done
                workers = [name for name in instance.pids() if not name.startswith("process_")]
                if workers:
                    name = chance.choice(sorted(workers))
                    instance.kill(name)
                    kills[name] += 1
            if not redis_kills and not supervisor_kills and sum(kills.values()) > 6:
                writer.finish.set()
            return writer.done.is_set() and done >= 2 * LINES

        wait_until(finished, 800, "all lines went through")
        wait_until(instance.all_at_work, 60, "what was killed last is back")
        books = instance.books()
        ledger = instance.cli("ledger")
        told = Counter(normal(line) for line in (instance.root / "data" / "tracker.log").read_text().splitlines())

        assert everything.read_text().splitlines() == lines
        assert sorted(articles.read_text().splitlines()) == sorted(lines)
        assert pings(lines) - told == Counter()
        assert [name for name, account in books.items() if account.dead] == []
        assert ledger.returncode == 0, ledger.stdout
        assert kills["redis"] == 2 and kills["supervisord"] == 1
        print(f"{LINES} lines, {sum(told.values())} pings, kills: {dict(kills)}")


def _lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
