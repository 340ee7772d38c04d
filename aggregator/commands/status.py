"""`status`: processes, queues and rates on one screen."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from aggregator import __version__
from aggregator.commands import screen
from aggregator.commands.feeds_list import as_json as as_feed_json
from aggregator.commands.feeds_list import complaint_of
from aggregator.commands.invocation import Invocation, add_json
from aggregator.commands.queues import QUEUE_COLUMNS, queue_facts, queue_row
from aggregator.commands.screen import Column, Painted
from aggregator.commands.snapshot import Process, Section, Snapshot, take
from aggregator.config.redisurl import mask
from aggregator.config.settings import parse_duration
from aggregator.errors import EXIT_OK
from aggregator.monitor.outages import standing_outage
from aggregator.runtime.keys import Keys
from aggregator.runtime.roster import WorkerFacts

_COLUMNS = (
    Column("PROCESS"),
    Column("STAGE"),
    Column("SUPERVISED"),
    Column("PID", True),
    Column("UP", True),
    Column("WORKER"),
    Column("RATE/s", True),
    Column("SUCCESS", True),
    Column("RSS", True),
    Column(""),
)
_PROCESS_COLOURS = {"RUNNING": "green", "STARTING": "yellow", "STOPPING": "yellow", "STOPPED": "grey", "EXITED": "grey"}
_WORKER_COLOURS = {"busy": "green", "idle": "green", "paused": "yellow", "held back": "yellow", "waiting": "yellow"}
_REMARK_WIDTH = 90
_FEEDS_SHOWN = 20


def add_status(parser: argparse.ArgumentParser) -> None:
    """Declare `status`."""
    add_json(parser)
    parser.add_argument(
        "--watch", metavar="SECONDS", nargs="?", const=2.0, type=_seconds, help="show it again and again (default 2)"
    )
    parser.set_defaults(run=_status)


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0.0
    if seconds < 0.1:
        raise argparse.ArgumentTypeError(f"needs a duration from 0.1 (found {text!r})")
    return seconds


def _status(invocation: Invocation, args: argparse.Namespace) -> int:
    config = invocation.running()
    colours = screen.colours_wanted(sys.stdout)
    while True:
        snapshot = take(config)
        if args.json:
            screen.print_json(as_json(snapshot))
        else:
            text = "\n".join(as_text(snapshot, colours=colours))
            # a terminal is drawn over from its first line, so that nothing flickers
            again = args.watch is not None and sys.stdout.isatty()
            print(
                "\x1b[H" + text.replace("\n", "\x1b[K\n") + "\x1b[K\n\x1b[J" if again else f"{text}\n",
                end="",
                flush=True,
            )
        if args.watch is None:
            return EXIT_OK
        time.sleep(args.watch)


def as_text(snapshot: Snapshot, *, colours: bool) -> Iterator[str]:
    """Yield the lines of the screen."""
    config = snapshot.config
    yield f"aggregator {__version__}, node {config.node}, {config.root}"
    if snapshot.supervisor_error:
        rest = "" if snapshot.redis_error else ": what is below comes from Redis alone"
        yield screen.paint(f"supervisord does not run here{rest}", "red", colours=colours)
    if snapshot.redis_error:
        yield screen.paint(snapshot.redis_error, "red", colours=colours)
    for sentence in snapshot.redis_warnings:
        yield screen.paint(sentence, "yellow", colours=colours)
    yield ""
    rows = [_row(snapshot, section, process) for section in snapshot.sections for process in section.processes]
    rows += [_row_elsewhere(snapshot, worker) for worker in snapshot.elsewhere]
    if rows:
        yield screen.table(_COLUMNS, rows, colours=colours)
    if snapshot.feeds:
        yield ""
        yield from _feeds(snapshot, colours=colours)
    queues = [queue_row(facts) for facts in _queues(snapshot)]
    if queues:
        yield ""
        yield screen.table(QUEUE_COLUMNS, queues, colours=colours)


def _feeds(snapshot: Snapshot, *, colours: bool) -> Iterator[str]:
    """Yield how many feeds there are, and those that something is wrong with."""
    wrong = [facts for facts in snapshot.feeds if facts.complaint]
    counts = Counter(facts.complaint for facts in wrong)
    words = "".join(f", {count:,} {complaint}" for complaint, count in sorted(counts.items()))
    yield f"{len(snapshot.feeds):,} feeds{words}; `run/aggregator feeds list` shows each"
    for facts in wrong[:_FEEDS_SHOWN]:
        yield screen.paint(f"  {facts.feed.name}: {complaint_of(facts)}", "red", colours=colours)
    if len(wrong) > _FEEDS_SHOWN:
        yield f"  and {len(wrong) - _FEEDS_SHOWN:,} more"


def _row(snapshot: Snapshot, section: Section, process: Process) -> list[str | Painted]:
    first = process is section.processes[0]
    worker = process.worker
    return [
        process.name if len(section.processes) > 1 else section.program.section,
        section.program.stage_name or section.program.kind,
        _supervised(section, process),
        str(process.pid or screen.NOTHING),
        screen.age(process.up_s),
        _worker(worker) if worker is not None else screen.NOTHING,
        screen.rate(section.rate) if first and section.rate is not None else "",
        screen.age(section.success_age_s) if first and section.accounts else "",
        screen.memory(process.rss_kb),
        _remark(snapshot, process),
    ]


def _row_elsewhere(snapshot: Snapshot, worker: WorkerFacts) -> list[str | Painted]:
    remark = screen.one_line(_facts_of(snapshot, worker), _REMARK_WIDTH)
    up, rss = screen.age(worker.up_s), screen.memory(worker.rss_kb)
    return [worker.name, "", "elsewhere", str(worker.pid), up, _worker(worker), "", "", rss, remark]


def _supervised(section: Section, process: Process) -> Painted:
    if process.supervised is None:
        return Painted("disabled" if not section.enabled else screen.NOTHING, "grey")
    state = process.supervised.state
    return Painted(state, _PROCESS_COLOURS.get(state, "red"))


def _worker(worker: WorkerFacts) -> Painted:
    if not worker.alive:
        silent = "" if worker.state == "stopped" else f" {screen.age(worker.beat_age_s)}"
        return Painted("stopped" if worker.state == "stopped" else f"silent{silent}", "grey")
    return Painted(worker.state, _WORKER_COLOURS.get(worker.state, ""))


def _remark(snapshot: Snapshot, process: Process) -> str:
    """Return what is worth a word: why a process does not run, why a worker waits, and its own notes."""
    parts = []
    seen = process.supervised
    if seen is not None and seen.state in ("BACKOFF", "FATAL", "EXITED"):
        parts += [seen.description, process.last_words]
    if process.worker is not None and process.worker.alive:
        parts.append(_facts_of(snapshot, process.worker))
    return screen.one_line("; ".join(part for part in parts if part), _REMARK_WIDTH)


def _facts_of(snapshot: Snapshot, worker: WorkerFacts) -> str:
    """Return why a worker does not go on, and since when: a trial now and then ends no outage."""
    queues = {account.name: account for account in snapshot.accounts}
    outage = standing_outage(worker, queues, snapshot.now)
    reason = f"for {screen.age(max(0.0, snapshot.now - outage.since))}: {outage.reason}" if outage else worker.reason
    notes = [f"{name}: {text}" for name, text in worker.notes.items() if text]
    if outage and any(outage.reason in note for note in notes):
        reason = ""  # a note that says it too says more
    return "; ".join(part for part in (reason, *notes) if part)


def _queues(snapshot: Snapshot) -> list[dict[str, Any]]:
    keys = Keys(snapshot.config.redis.namespace)
    return [queue_facts(snapshot.config, keys, account) for account in snapshot.accounts if not account.is_source]


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return everything for programs."""
    config = snapshot.config
    return {
        "version": __version__,
        "at": round(time.time(), 3),
        "node": config.node,
        "root": str(config.root),
        "supervisord": {"answers": not snapshot.supervisor_error, "error": snapshot.supervisor_error or None},
        "redis": {
            "url": mask(config.redis.url),
            "answers": not snapshot.redis_error,
            "error": snapshot.redis_error or None,
            "warnings": list(snapshot.redis_warnings),
        },
        "sections": [_section_json(section) for section in snapshot.sections],
        "elsewhere": [_worker_json(worker) for worker in snapshot.elsewhere],
        "queues": _queues(snapshot),
        "feeds": [as_feed_json(facts) for facts in snapshot.feeds],
    }


def _section_json(section: Section) -> dict[str, Any]:
    program = section.program
    return {
        "section": program.section,
        "kind": program.kind,
        "stage": program.stage_name,
        "enabled": section.enabled,
        "listens": program.listens,
        "feeds": list(program.feeds),
        "rate": section.rate,
        "last_success_age_s": section.success_age_s,
        "retried": sum(account.retried for account in section.accounts),
        "busy_s": sum(account.busy_s for account in section.accounts),
        "counts": {name: number for account in section.accounts for name, number in account.counts.items()},
        "processes": [
            {
                "name": process.name,
                "state": process.supervised.state if process.supervised else None,
                "description": process.supervised.description if process.supervised else None,
                "pid": process.pid or None,
                "up_s": process.up_s,
                "rss_kb": process.rss_kb or None,
                "worker": _worker_json(process.worker) if process.worker else None,
            }
            for process in section.processes
        ],
    }


def _worker_json(worker: WorkerFacts) -> dict[str, Any]:
    return {**msgspec.to_builtins(worker), "alive": worker.alive}
