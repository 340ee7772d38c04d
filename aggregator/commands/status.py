"""`status`: processes, queues and rates on one screen."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

from aggregator import __version__
from aggregator.commands import screen
from aggregator.commands.invocation import Invocation, add_json
from aggregator.commands.queues import QUEUE_COLUMNS, queue_row
from aggregator.commands.screen import Column, Painted
from aggregator.config.settings import parse_duration
from aggregator.errors import EXIT_OK
from aggregator.monitor.outages import standing_outage
from aggregator.monitor.snapshot import Process, SectionState, Snapshot, take
from aggregator.monitor.snapshotjson import as_json, queues_of
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
            # the lines are drawn over the old ones without clearing the terminal first, so that nothing flickers
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
    for view in snapshot.views:
        if view.rows:
            yield ""
            lines = view.overview.lines(view.rows)
            yield from (screen.paint(line.text, "red" if line.wrong else "", colours=colours) for line in lines)
    queues = [queue_row(facts) for facts in queues_of(snapshot)]
    if queues:
        yield ""
        yield screen.table(QUEUE_COLUMNS, queues, colours=colours)


def _row(snapshot: Snapshot, section: SectionState, process: Process) -> list[str | Painted]:
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


def _supervised(section: SectionState, process: Process) -> Painted:
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
    """Return the remark on a process: why it does not run, why its worker waits, and the worker's own notes."""
    parts = []
    seen = process.supervised
    if seen is not None and seen.state in ("BACKOFF", "FATAL", "EXITED"):
        parts += [seen.description, process.last_words]
    if process.worker is not None and process.worker.alive:
        parts.append(_facts_of(snapshot, process.worker))
    return screen.one_line("; ".join(part for part in parts if part), _REMARK_WIDTH)


def _facts_of(snapshot: Snapshot, worker: WorkerFacts) -> str:
    """Return why a worker does not go on and since when, and its notes; a trial during an outage does not end it."""
    queues = {account.name: account for account in snapshot.accounts}
    outage = standing_outage(worker, queues, snapshot.now)
    reason = f"for {screen.age(max(0.0, snapshot.now - outage.since))}: {outage.reason}" if outage else worker.reason
    notes = [f"{name}: {text}" for name, text in worker.notes.items() if text]
    if outage and any(outage.reason in note for note in notes):
        reason = ""  # a note that repeats the reason says more
    return "; ".join(part for part in (reason, *notes) if part)
