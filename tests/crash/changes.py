"""Every change of what identifies state, on a running instance, with what became of the state in counts.

    python -m tests.crash.changes [--only PATTERN] [--at-once N]

Each row is a real instance under a real supervisord: data flows, something is changed, built and updated, data flow
again. The counts say what went in and what is there in the end: `lost` is what went in and is nowhere, `twice` what is
there more than once. `told` is what `config build` and `health` say of it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import simplejson

from aggregator.supervision import Control
from tests.crash.sections import storing
from tests.feeds.webserver import Talk, WebServer
from tests.instance import Instance
from tests.servers import wait_until

LINES = 200
MORE = 50
QUIET_S = 6.0
"""A file that did not grow for so long is as it will be."""
SERVED_FOR_GOOD = 2
"""How often a publication is served, at least: a download that was stopped is taken again."""


class Outcome(NamedTuple):
    """What became of the state."""

    change: str
    before: int
    """What had gone in when the change was made."""
    went_in: int
    there: int
    """Different ones."""
    twice: int
    told: tuple[str, ...]
    """The codes that `health` has, and the lines of `config build` that are about state."""

    @property
    def lost(self) -> int:
        """What is nowhere."""
        return self.went_in - self.there

    def row(self) -> str:
        """Return it as a row of a table."""
        counts = f"{self.before:>6} {self.went_in:>7} {self.there:>6} {self.lost:>5} {self.twice:>6}"
        return f"{self.change:44} {counts}  {'; '.join(self.told)[:120]}"


HEAD = f"{'change':44} {'before':>6} {'went in':>7} {'there':>6} {'lost':>5} {'twice':>6}  told"


class Site:
    """One instance, and the changes that can be made to it."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.root = instance.root
        self.server = Server()
        """What serves the feeds."""
        self.said: list[str] = []

    def edit(self, *pairs: tuple[str, str]) -> None:
        """Replace texts in the configuration; one that is not there is a fault of the script."""
        text = self.instance.file.read_text()
        for old, new in pairs:
            assert old in text, f"{old!r} is not in the configuration"
            text = text.replace(old, new)
        self.instance.file.write_text(text)

    def build(self, *options: str) -> None:
        """Build, without being asked where the version asks, and keep what is said of state."""
        ran = self.instance.cli("config", "build", *options, "--yes")
        if ran.returncode == 2 and "unrecognized" in ran.stderr:
            ran = self.instance.cli("config", "build", *options)
        assert ran.returncode == 0, ran.stderr
        self.said += [
            line for line in ran.stdout.splitlines() if re.search(r"takes over|moves? there|ends?:|from now on", line)
        ]

    def update(self, file: str = "") -> None:
        """Build and let supervisord take it."""
        self.build(*(("-s", file) if file else ()))
        list(Control(self.root / "run/supervisor.sock").update())

    def again(self, do: Callable[[], object] = lambda: None) -> None:
        """Stop, do something, build and start again."""
        self.instance.stop()
        do()
        self.build()
        self.instance.start()

    def health(self) -> tuple[str, ...]:
        """Return the codes of all findings but those of a machine that is slow."""
        told = simplejson.loads(self.instance.cli("health", "--json").stdout)
        return tuple(sorted({str(finding.get("code", finding["about"])) for finding in told["findings"]}))


# --- logs -------------------------------------------------------------------------------------------------------------

LOGS = """[aggregator]
node = here
[redis]
namespace = first
[logger_in]
stage = tail
logfile = in/a.log
servicename = s
pushto = lines
[worker_b]
stage = broker
listento = lines
fanout = out
[logger_o]
stage = logfile
listento = out
logfile = out.log
format = {logline}
"""

Change = Callable[[Site], None]


def _absolute(site: Site) -> None:
    site.edit(("logfile = out.log", f"logfile = {site.root}/out.log"))
    site.update()


def _through_link(site: Site) -> None:
    (site.root / "link").symlink_to(".")
    site.edit(("logfile = out.log", "logfile = link/out.log"), ("logfile = in/a.log", "logfile = link/in/a.log"))
    site.update()


def _dots(site: Site) -> None:
    site.edit(("logfile = out.log", "logfile = in/../out.log"), ("logfile = in/a.log", "logfile = in/../in/a.log"))
    site.update()


def _glob(site: Site) -> None:
    site.edit(("logfile = in/a.log", "logfile = in/*.log"))
    site.update()
    site.edit(("logfile = in/*.log", "logfile = ./in/*.log"))
    site.update()
    site.edit(("logfile = ./in/*.log", f"logfile = {site.root}/in/*.log"))
    site.update()


def _replaced(*pairs: tuple[str, str]) -> Change:
    def change(site: Site) -> None:
        site.edit(*pairs)
        site.update()

    return change


def _there_and_back(site: Site) -> None:
    """Rename both sections, let a line through, and give them their old names back."""
    names = ("[logger_o]", "[logger_other]"), ("[logger_in]", "[logger_source]")
    site.edit(*names)
    site.update()
    with (site.root / "in/a.log").open("a") as log:
        log.write(f"line {LINES}\n")
    wait_until(lambda: f"line {LINES}" in _lines(site), 60)
    site.edit(*((new, old) for old, new in names))
    site.update()


def _divided(rest: str) -> Change:
    """Give one of two files a section of its own; the other one stays in the section, or goes to one called `rest`."""

    def change(site: Site) -> None:
        site.edit(("logfile = in/a.log", "logfile = in/a.log, in/b.log"))
        site.update()
        tail = "[logger_first]\nstage = tail\nlogfile = in/a.log\nservicename = s\npushto = lines\n"
        site.edit(("in/a.log, in/b.log", "in/b.log"), ("[logger_in]", f"{tail}[{rest}]"))
        site.update()

    return change


def _redis_gone(site: Site) -> None:
    site.again(lambda: shutil.rmtree(site.root / "data/redis"))


def _run_gone(site: Site) -> None:
    site.again(lambda: shutil.rmtree(site.root / "run"))


def _moved(site: Site) -> None:
    """Move the folder away and back under another name: what runs then is in another place."""
    there = site.root.with_name(f"{site.root.name}m")

    def move() -> None:
        site.root.rename(there)
        site.root = site.instance.root = there
        site.instance.file = there / "loglines.cfg"

    site.again(move)


def _killed_between(site: Site) -> None:
    """SIGKILL the writer, respell its file, and start it again: what it wrote last may be uncommitted."""
    site.instance.kill("logger_o_0")
    _absolute(site)


LOG_CHANGES: dict[str, Change] = {
    "logs: nothing": lambda site: None,
    "logs: output absolute": _absolute,
    "logs: both through a link": _through_link,
    "logs: both with ..": _dots,
    "logs: input by globs, three spellings": _glob,
    "logs: a file gets a section of its own": _divided("logger_in"),
    "logs: a section divided, both new": _divided("logger_rest"),
    "logs: output's section renamed": _replaced(("[logger_o]", "[logger_other]")),
    "logs: input's section renamed": _replaced(("[logger_in]", "[logger_source]")),
    "logs: both renamed, and their queue": _replaced(
        ("[logger_o]", "[logger_other]"), ("[logger_in]", "[logger_source]"), ("lines", "rows"), ("= out\n", "= done\n")
    ),
    "logs: both renamed, and renamed back": _there_and_back,
    "logs: queues renamed": _replaced(("pushto = lines", "pushto = rows"), ("listento = lines", "listento = rows")),
    "logs: node renamed": _replaced(("node = here", "node = there")),
    "logs: killed, then output absolute": _killed_between,
    "logs: run/ deleted": _run_gone,
    "logs: folder moved": _moved,
    "logs: namespace changed": _replaced(("namespace = first", "namespace = second")),
    "logs: data/redis deleted": _redis_gone,
}
MAY_REPEAT = {"logs: namespace changed", "logs: data/redis deleted"}
"""What nobody can know: everything may be done again, and that is told."""


def run_logs(name: str) -> Outcome:
    """Run one change of the log pipeline."""
    with Instance(LOGS) as instance:
        site = Site(instance)
        source = site.root / "in/a.log"
        source.parent.mkdir()
        source.write_text("".join(f"line {number}\n" for number in range(LINES)))
        instance.start()
        wait_until(lambda: len(_lines(site)) == LINES, 60)
        LOG_CHANGES[name](site)
        with (site.root / "in/a.log").open("a") as log:
            # a change may have written some
            written = (site.root / "in/a.log").read_text().count("\n")
            log.writelines(f"line {number}\n" for number in range(written, LINES + MORE))
        _wait_for_quiet(lambda: len(_lines(site)), lambda: f"line {LINES + MORE - 1}" in _lines(site))
        counts = Counter(_lines(site))
        told = (*site.health(), *site.said)
    return Outcome(name, LINES, LINES + MORE, len(counts), sum(counts.values()) - len(counts), told)


def _lines(site: Site) -> list[str]:
    path = site.root / "out.log"
    return path.read_text().splitlines() if path.exists() else []


def _wait_for_quiet(look: Callable[[], int], arrived: Callable[[], bool], limit_s: float = 30.0) -> None:
    """Wait until something does not change any more; for what should arrive, at most `limit_s`."""
    since, seen, end = time.monotonic(), look(), time.monotonic() + limit_s

    def quiet() -> bool:
        nonlocal since, seen
        now = look()
        if now != seen:
            since, seen = time.monotonic(), now
        return time.monotonic() - since > QUIET_S and (arrived() or time.monotonic() > end)

    wait_until(quiet, limit_s + 60)


# --- feeds ------------------------------------------------------------------------------------------------------------

FEEDS = ("clock", "plain")

PIPELINE = (
    """[aggregator]
node = here
[redis]
namespace = first
[worker_download]
stage = download
listento = ticks@node
pushto = fetched@node
[worker_filter]
stage = filter
listento = fetched@node
pushto = published@node
bundle = 1m
"""
    + storing(grace="2s", keep="2s")
    + """[feed_clock]
url = URL/clock
extension = json
timestamp = json:/at
period = 1s
[feed_plain]
url = URL/plain
extension = json
timestamp = none
period = 1s
"""
)


class Server:
    """Two feeds; each publication stays until it was served often enough."""

    def __init__(self) -> None:
        self.served: Counter[tuple[str, int]] = Counter()
        self.frozen = False
        self._current: dict[str, int] = {}
        self._lock = threading.Lock()

    def answer(self, talk: Talk) -> None:
        """Answer with the publication that is current."""
        name = talk.asked.path.strip("/")
        with self._lock:
            at = self._current.setdefault(name, int(time.time()))
            if not self.frozen and self.served[name, at] >= SERVED_FOR_GOOD and time.time() >= at + 2:
                at = self._current[name] = int(time.time())
        talk.answer(simplejson.dumps({"at": at, "feed": name}).encode())
        with self._lock:
            self.served[name, at] += 1

    def number(self) -> int:
        """Return how many publications were served often enough."""
        with self._lock:
            return sum(times >= SERVED_FOR_GOOD for times in self.served.values())


def _feed_lost_and_found(site: Site) -> None:
    """A feed is missing from the file for a moment, while the download restarts."""
    text = site.instance.file.read_text()
    site.edit(("[feed_clock]\nurl = ", "[feed_gone]\nurl = "))
    site.instance.kill("worker_download_0")
    wait_until(lambda: "worker_download_0" in site.instance.pids(), 30)
    _moments(3)
    site.instance.file.write_text(text)
    site.update()


def _unbuilt(*pairs: tuple[str, str], kill: str) -> Change:
    """Edit without building; a worker restarts; the edit is undone."""

    def change(site: Site) -> None:
        text = site.instance.file.read_text()
        site.edit(*pairs)
        site.instance.kill(kill)
        wait_until(lambda: kill in site.instance.pids(), 30)
        _moments(3)
        site.instance.file.write_text(text)
        site.update()

    return change


def _moments(seconds: float) -> None:
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end, seconds + 30)


def _older_redis(*pairs: tuple[str, str]) -> Change:
    """Put an older copy of data/redis back, and change something."""

    def change(site: Site) -> None:
        copy = site.root / "older"
        site.again(lambda: shutil.copytree(site.root / "data/redis", copy))
        _moments(12)

        def restore() -> None:
            shutil.rmtree(site.root / "data/redis")
            copy.rename(site.root / "data/redis")
            if pairs:
                site.edit(*pairs)

        site.again(restore)

    return change


def _longer_and_back(site: Site) -> None:
    """Make bundles of two minutes for a while."""
    site.edit(("bundle = 1m", "bundle = 2m"))
    site.update()
    _moments(15)
    site.edit(("bundle = 2m", "bundle = 1m"))
    site.update()


def _held(change: Change) -> Change:
    """Make a change while the servers show the same before it and after it: what was taken is there again."""

    def changed(site: Site) -> None:
        site.server.frozen = True
        _moments(4)
        change(site)
        _moments(4)
        site.server.frozen = False

    return changed


def _untold(change: Change) -> Change:
    """Make a change while bodies wait for the filter, whose messages are lost with it."""

    def changed(site: Site) -> None:
        site.instance.control().stop("worker_filter")
        before = site.server.number()
        wait_until(lambda: site.server.number() >= before + 4, 60)
        change(site)

    return changed


def _emptied_with_another_namespace(site: Site) -> None:
    def change() -> None:
        shutil.rmtree(site.root / "data/redis")
        site.edit(("namespace = first", "namespace = second"))

    site.again(change)


def _archive_stopped(change: Change) -> Change:
    """Make a change while bundles wait and the archive is stopped."""

    def changed(site: Site) -> None:
        site.instance.control().stop("worker_archive")
        change(site)

    return changed


FEED_CHANGES: dict[str, Change] = {
    "feeds: nothing": lambda site: None,
    "1 a feed missing while download restarts": _feed_lost_and_found,
    "2 download's queue renamed": _replaced(("ticks@node", "ticks2@node")),
    "3 namespace changed": _replaced(("namespace = first", "namespace = second")),
    "3 data/redis deleted, another namespace": _held(_emptied_with_another_namespace),
    "3 data/redis deleted": _redis_gone,
    "3 data/redis deleted, filter stopped": _untold(_held(_redis_gone)),
    "4 node changed": _replaced(("node = here", "node = there")),
    "4 run/ deleted": _run_gone,
    "5 store edited, archive restarts, undone": _unbuilt(
        ("data/archive", "data/elsewhere"), kill="worker_archive_0"
    ),
    "6 queue edited, filter restarts, undone": _unbuilt(
        ("listento = fetched@node", "listento = nothing@node"), kill="worker_filter_0"
    ),
    "7 published queue renamed": _replaced(("published@node", "pub2@node")),
    "8 fetched queue renamed": _replaced(("fetched@node", "fetched2@node")),
    "8 bundled queue renamed, archive stopped": _archive_stopped(_replaced(("bundled@node", "bundled2@node"))),
    "8 @node removed": _replaced(("@node", "")),
    "12 older data/redis": _older_redis(),
    "13 older data/redis, another format": _older_redis(("grace = 2s", "grace = 2s\nformat = gz")),
    "14 bundles longer, and short again": _longer_and_back,
    "15 two queues swapped": _replaced(
        ("fetched@node", "X@node"), ("published@node", "fetched@node"), ("X@node", "published@node")
    ),
    "21 filter's section renamed": _replaced(("[worker_filter]", "[worker_sieve]")),
    "all sections renamed": _replaced(
        ("[worker_filter]", "[worker_sieve]"), ("[worker_download]", "[worker_get]"),
        ("[worker_compress]", "[worker_pack]"), ("[worker_archive]", "[worker_store]"),
    ),
    "folder moved": _moved,
}  # fmt: skip


def run_feeds(name: str) -> Outcome:
    """Run one change of the feed pipeline."""
    with ExitStack() as stack:
        web = stack.enter_context(WebServer())
        instance = stack.enter_context(Instance(PIPELINE.replace("URL", web.url)))
        site = Site(instance)
        server = site.server
        for feed in FEEDS:
            web.answers[f"/{feed}"] = server.answer
        instance.start()
        wait_until(lambda: server.number() >= 20, 90, f"{name}: data flow")
        before = server.number()
        FEED_CHANGES[name](site)
        during = server.number()
        wait_until(lambda: server.number() >= during + 12, 90, f"{name}: data flow again")
        server.frozen = True
        # what is current is taken once more; then every period closes and is stored
        _wait_for_archive(site, server)
        there = Counter(_retrieved(site))
        told = (*site.health(), *site.said)
    served = set(server.served)
    return Outcome(name, before, len(served), len(served & there.keys()), sum(there.values()) - len(there), told)


def _wait_for_archive(site: Site, server: Server, limit_s: float = 420.0) -> None:
    end = time.monotonic() + limit_s
    wait_until(lambda: set(server.served) <= set(_retrieved(site)) or time.monotonic() > end, limit_s + 60)


def _retrieved(site: Site) -> Iterator[tuple[str, int]]:
    """Yield each publication that can be had out of the archive, as often as it is there."""
    target = site.root / "retrieved"
    shutil.rmtree(target, ignore_errors=True)
    site.instance.cli("feeds", "retrieve", *FEEDS, "--to", str(target))
    for path in target.rglob("*.json"):
        body = simplejson.loads(path.read_bytes())
        if isinstance(body, dict) and "at" in body:
            yield body["feed"], body["at"]


DOCUMENTED: dict[str, tuple[str, ...]] = {
    "path spelled otherwise, through a link, with `..`": (
        "logs: output absolute", "logs: both through a link", "logs: both with ..",
        "logs: input by globs, three spellings", "logs: killed, then output absolute",
    ),
    "section renamed, divided, joined with another": (
        "logs: a file gets a section of its own", "logs: a section divided, both new",
        "logs: output's section renamed", "logs: input's section renamed", "logs: both renamed, and their queue",
        "logs: both renamed, and renamed back",
        "21 filter's section renamed", "all sections renamed",
    ),
    "queue renamed, `@node` added or removed": (
        "logs: queues renamed", "2 download's queue renamed", "7 published queue renamed", "8 fetched queue renamed",
        "8 bundled queue renamed, archive stopped", "8 @node removed",
    ),
    "`node` renamed, `run/` deleted": (
        "logs: node renamed", "logs: run/ deleted", "4 node changed", "4 run/ deleted",
    ),
    "`namespace` or `[redis] url` changed": (
        "logs: namespace changed", "3 namespace changed", "3 data/redis deleted, another namespace",
    ),
    "Redis emptied or lost": (
        "logs: data/redis deleted", "3 data/redis deleted", "3 data/redis deleted, filter stopped",
    ),
    "Redis restored older": ("12 older data/redis", "13 older data/redis, another format"),
    "instance's folder moved": ("logs: folder moved", "folder moved"),
    "instance's folder copied, the original is there": (),
    "two instances, one Redis, namespace and node": (),
    "edited, not built": (
        "1 a feed missing while download restarts", "5 store edited, archive restarts, undone",
        "6 queue edited, filter restarts, undone",
    ),
}  # fmt: skip
"""The rows of the table in docs/operations.md, each with the changes that show it. A copy, and two instances under one
name, are shown in tests/commands/test_state.py, test_work.py and tests/runtime/test_succession.py."""


# --- the whole -----------------------------------------------------------------------------------------------------


def run(name: str) -> Outcome:
    """Run one change."""
    return run_logs(name) if name in LOG_CHANGES else run_feeds(name)


def main() -> None:
    """Run all changes, some at once, and print a row for each."""
    parser = argparse.ArgumentParser(description="What becomes of state when what identifies it changes.")
    parser.add_argument("--only", default="", metavar="PATTERN", help="changes whose name has this regular expression")
    parser.add_argument("--at-once", type=int, default=4, metavar="N", help="so many at the same time")
    args = parser.parse_args()
    print(HEAD, flush=True)
    names = [name for name in (*LOG_CHANGES, *FEED_CHANGES) if re.search(args.only, name)]
    with ThreadPoolExecutor(args.at_once) as pool:
        for name, done in [(name, pool.submit(run, name)) for name in names]:
            try:
                print(done.result().row(), flush=True)
            except AssertionError as error:
                print(f"{name:44} FAILED: {error}", flush=True)


if __name__ == "__main__":
    assert Path("tests/crash").is_dir(), "run it from the project's folder"
    main()
