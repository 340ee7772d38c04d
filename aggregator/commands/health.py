"""`health`: one line for each thing that is wrong, and an exit code for monitors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Literal, NamedTuple

from aggregator.commands import screen
from aggregator.commands.feeds_list import complaint_of
from aggregator.commands.invocation import Invocation, add_json
from aggregator.commands.queues import imbalances, section_of
from aggregator.commands.snapshot import Process, Section, Snapshot, take
from aggregator.config import Config
from aggregator.errors import EXIT_CHECK_FAILED, EXIT_OK, ConfigError
from aggregator.runtime.heartbeat import LEASE_S
from aggregator.supervision import plan


class Finding(NamedTuple):
    """One thing that is wrong; a warning alone does not fail the check unless it is strict."""

    level: Literal["error", "warning"]
    about: str
    """The section, the queue, or `redis`, `supervisord`, `files`."""
    text: str


def add_health(parser: argparse.ArgumentParser) -> None:
    """Declare `health`."""
    add_json(parser)
    parser.add_argument("--strict", action="store_true", help="warnings fail too, dead letters for example")
    parser.set_defaults(run=_health)


def _health(invocation: Invocation, args: argparse.Namespace) -> int:
    config = invocation.config(reading=True)
    found = findings(take(config))
    failed = any(finding.level == "error" or args.strict for finding in found)
    if args.json:
        screen.print_json({"ok": not failed, "findings": [finding._asdict() for finding in found]})
    else:
        colours = screen.colours_wanted(sys.stdout)
        for finding in found:
            level = screen.paint(finding.level, "red" if finding.level == "error" else "yellow", colours=colours)
            print(f"{level}: {finding.about}: {screen.printable(finding.text)}")
        if not failed:
            invocation.say("ok")
    return EXIT_CHECK_FAILED if failed else EXIT_OK


def findings(snapshot: Snapshot) -> list[Finding]:
    """Return everything that is wrong, errors first."""
    found = [*_supervisor(snapshot), *_redis(snapshot), *_files(snapshot.config)]
    for section in snapshot.sections:
        found += _section(snapshot, section)
    for account in snapshot.accounts:
        found += [Finding("error", account.name, sentence) for sentence in imbalances(account)]
        if account.dead:
            advice = f"`aggregator dead list --queue {account.name}` shows them"
            found.append(Finding("warning", account.name, f"{account.dead:,} dead letters; {advice}"))
    found += [*_waiting(snapshot), *_feeds(snapshot)]
    return sorted(found, key=lambda finding: finding.level)


def _supervisor(snapshot: Snapshot) -> Iterator[Finding]:
    if snapshot.supervisor_error and any(section.enabled for section in snapshot.sections):
        yield Finding("error", "supervisord", f"{snapshot.supervisor_error}; start it with `aggregator run`")


def _redis(snapshot: Snapshot) -> Iterator[Finding]:
    if snapshot.redis_error:
        yield Finding("error", "redis", snapshot.redis_error)
    for sentence in snapshot.redis_warnings:
        yield Finding("error", "redis", sentence)


def _files(config: Config) -> Iterator[Finding]:
    try:
        made = plan(config)
    except ConfigError as error:
        for problem in error.problems:
            yield Finding("warning", "files", problem)
        return
    except OSError as error:
        # some are for their owner alone, and whoever watches may be another user
        yield Finding(
            "warning", "files", f"cannot be compared with {config.file.name}: {error.filename}: {error.strerror}"
        )
        return
    if made.changes:
        words = (
            f"{len(made.actions)} are not as {config.file.name} says; `aggregator config build` brings them up to date"
        )
        yield Finding("warning", "files", words)


def _section(snapshot: Snapshot, section: Section) -> Iterator[Finding]:
    name = section.program.section
    for process in section.processes:
        if section.enabled and not snapshot.supervisor_error:
            yield from _process(section, process)
        worker = process.worker
        if worker is None or not worker.alive:
            continue
        if worker.state in ("paused", "waiting"):
            yield Finding(
                "warning", process.name, f"{worker.state} for {screen.age(worker.state_age_s)}: {worker.reason}"
            )
    if section.enabled and not snapshot.redis_error:
        yield from _silent(section, name)


def _process(section: Section, process: Process) -> Iterator[Finding]:
    seen, settings = process.supervised, section.program.program
    if seen is None:
        words = "enabled, but unknown to supervisord; `aggregator config build`, then `supervisorctl update`"
        yield Finding("error", process.name, words)
    elif seen.state in ("FATAL", "BACKOFF", "UNKNOWN"):
        yield Finding("error", process.name, f"{seen.state}: {seen.description}")
    elif seen.state == "STOPPED" and settings.autostart:
        yield Finding("error", process.name, "enabled, but stopped")
    elif seen.state == "EXITED" and (section.program.kind != "command" or seen.exit_code not in settings.exitcodes):
        yield Finding("error", process.name, f"exited with code {seen.exit_code}; {seen.description}")
    elif seen.state == "RUNNING" and section.program.kind == "stage":
        worker = process.worker
        # a worker that has just been started has not said anything yet
        if worker is not None and not worker.alive and seen.now - seen.started_at > 2 * LEASE_S:
            yield Finding("error", process.name, f"runs, but shows no sign of life for {screen.age(worker.beat_age_s)}")


def _silent(section: Section, name: str) -> Iterator[Finding]:
    limit_s = getattr(section.program.settings, "stale_after", 0.0)
    if not limit_s:
        return
    age_s, words = section.success_age_s, "brought nothing for {}"
    if age_s is None:
        age_s = max((process.up_s or 0.0 for process in section.processes), default=0.0)
        words = "has brought nothing in the {} it runs"
    if age_s > limit_s:
        yield Finding("error", name, f"{words.format(screen.age(age_s))}; stale_after is {screen.age(limit_s)}")


def _feeds(snapshot: Snapshot) -> Iterator[Finding]:
    for facts in snapshot.feeds:
        if facts.complaint:
            # a frozen one is in order as far as it is up to us
            level: Literal["error", "warning"] = "error" if facts.complaint == "stale" else "warning"
            yield Finding(level, f"feed_{facts.feed.name}", complaint_of(facts))


def _waiting(snapshot: Snapshot) -> Iterator[Finding]:
    """Find queues where messages wait for a worker that does not come."""
    served = {worker.queue for worker in snapshot.workers if worker.alive}
    enabled = {section.program.section: section.enabled for section in snapshot.sections}
    stages = {section.program.section for section in snapshot.sections if section.program.kind == "stage"}
    for account in snapshot.accounts:
        reader = section_of(snapshot.config, account)
        waiting = account.ready + account.in_flight + snapshot.overdue.get(account.name, 0)
        if account.is_source or not waiting or account.name in served or (reader and reader not in stages):
            continue
        if not reader:
            why = "no section here reads it"
        else:
            why = f"{reader} is {'enabled' if enabled[reader] else 'disabled'}"
        yield Finding("error", account.name, f"{waiting:,} messages wait, and no worker lives that takes them: {why}")
