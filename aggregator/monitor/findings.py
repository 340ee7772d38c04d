"""What is wrong with an instance at one moment: the findings of `health`."""

from __future__ import annotations

import os
from collections.abc import Iterator

from aggregator.config.builds import Builds
from aggregator.config.configuration import Config
from aggregator.config.hints import counted
from aggregator.config.loading import load
from aggregator.errors import ConfigError
from aggregator.monitor.collecting import idle_parts, unread_queues
from aggregator.monitor.finding import Finding, in_order
from aggregator.monitor.outages import outages, restarts
from aggregator.monitor.queuefacts import section_of
from aggregator.monitor.reports import lasting, reported
from aggregator.monitor.snapshot import Process, SectionState, Snapshot
from aggregator.monitor.words import age
from aggregator.runtime.heartbeat import LEASE_S
from aggregator.runtime.keys import resolve
from aggregator.runtime.ledger import imbalances
from aggregator.runtime.reading import Overdue
from aggregator.supervision import plan

_BUILD = "Run `run/aggregator config build`, then `run/supervisorctl update`."


def findings(snapshot: Snapshot) -> list[Finding]:
    """Return everything that is wrong, errors first."""
    found = [*_supervisor(snapshot), *_redis(snapshot), *_files(snapshot.config)]
    for section in snapshot.sections:
        found += _section(snapshot, section)
    found += [*_books(snapshot), *_waiting(snapshot), *_viewed(snapshot), *_told(snapshot), *_collecting(snapshot)]
    found += _updated(snapshot)
    return in_order(found)


def _supervisor(snapshot: Snapshot) -> Iterator[Finding]:
    if snapshot.supervisor_error and any(section.enabled for section in snapshot.sections):
        do = "Start it with `run/aggregator run`."
        yield Finding("supervisord_away", "error", "supervisord", snapshot.supervisor_error, None, do)


def _redis(snapshot: Snapshot) -> Iterator[Finding]:
    if snapshot.redis_error:
        do = "Start it, or correct [redis] in loglines.cfg; workers wait for it, and lose nothing that they took in."
        yield Finding("redis_away", "error", "redis", snapshot.redis_error, None, do)
    for sentence in snapshot.redis_warnings:
        do = "Change the configuration of Redis as it says; docs/delivery.md tells why."
        yield Finding("redis_unsafe", "error", "redis", sentence, None, do)


def _files(running: Config) -> Iterator[Finding]:
    """Compare the generated files and the running build with the configuration file as it is now."""
    try:
        config = running if running.build is None else load(running.file, running.root, reading=True)
    except ConfigError as error:
        more = f", and {len(error.problems) - 1} more faults" if len(error.problems) > 1 else ""
        text = f"cannot be built as it is: {error.problems[0]}{more}"
        do = (
            "Nothing, while it is being edited: workers run what was built. "
            "`run/aggregator config check` lists all faults."
        )
        yield Finding("config_faulty", "warning", running.file.name, text, None, do)
        return
    try:
        made = plan(config)
    except ConfigError as error:
        for problem in error.problems:
            yield Finding(
                "files_refused", "warning", "files", problem, None, "Do what it says; until then nothing can be built."
            )
        return
    except OSError as error:
        # only their owner can read some of the files, and `health` may run as another user
        text = f"cannot be compared with {config.file.name}: {error.filename}: {error.strerror}"
        do = "Run `run/aggregator health` as the user whom the instance runs as."
        yield Finding("files_unreadable", "warning", "files", text, None, do)
        return
    if made.changes:
        edited = ""
        if running.build and made.build:
            is_code = running.build.facts.digest == made.build.digest
            what = "this program has changed" if is_code else f"{config.file.name} was edited"
            edited = f"{what} since build {running.build.facts.number}"
        count = len(made.actions)
        files = f"{count} file{' is' if count == 1 else 's are'} not as {config.file.name} says" if count else ""
        text = "; ".join(part for part in (edited, files) if part) or f"{config.file.name} is new"
        yield Finding("files_not_built", "warning", "files", text, None, _BUILD)


def _section(snapshot: Snapshot, section: SectionState) -> Iterator[Finding]:
    if not section.enabled:
        return
    if not snapshot.supervisor_error:
        for process in section.processes:
            yield from _process(snapshot, section, process)
    if not snapshot.redis_error:
        yield from _silent(snapshot, section)


def _process(snapshot: Snapshot, section: SectionState, process: Process) -> Iterator[Finding]:
    seen, settings, name = process.supervised, section.program.program, process.name
    full_name = f"{section.program.section}:{name}"  # supervisord knows a process by its group
    log = f"Read the reason in {process.log or 'its log'}, mend it, then `run/supervisorctl restart {full_name}`."
    if process.log and not os.path.isdir(folder := os.path.dirname(process.log)):
        log = f"Make the folder of its log, {folder}, which is missing; then `run/supervisorctl restart {full_name}`."
    words = _end_of(process)
    if seen is None:
        yield Finding("program_unknown", "error", name, "enabled, but unknown to supervisord", None, _BUILD)
    elif seen.state in ("FATAL", "BACKOFF", "UNKNOWN"):
        text = f"{seen.state}: {seen.description}{words}"
        yield Finding("program_down", "error", name, text, None, log)
    elif seen.state == "STOPPED" and settings.autostart:
        do = f"Start it with `run/supervisorctl start {section.program.section}:`, or `run/aggregator disable` it."
        yield Finding("program_stopped", "error", name, "enabled, but stopped", None, do)
    elif seen.state == "EXITED" and (section.program.kind != "command" or seen.exit_code not in settings.exitcodes):
        text = f"exited with code {seen.exit_code}; {seen.description}{words}"
        yield Finding("program_exited", "error", name, text, None, log)
    elif seen.state in ("RUNNING", "STARTING") and process.worker is not None and (ends := restarts(process.worker)):
        text = f"was started {ends.times + 1} times, and ended before it got anything done{_end_of(process)}"
        yield Finding("program_restarts", "error", name, text, ends.since, log)
    elif seen.state == "RUNNING" and section.program.kind == "stage":
        worker = process.worker
        # a worker that has just been started has not said anything yet
        if worker is not None and not worker.alive and seen.now - seen.started_at > 2 * LEASE_S:
            age_s = worker.beat_age_s
            text = f"runs, but shows no sign of life for {age(age_s)}"
            do = f"Look into {process.log or 'its log'}, then `run/supervisorctl restart {full_name}`."
            yield Finding("worker_silent", "error", name, text, None if age_s is None else snapshot.now - age_s, do)


def _updated(snapshot: Snapshot) -> Iterator[Finding]:
    """Find workers that run another build of their section than the current one."""
    current = Builds(snapshot.config.instance).current()
    for section in snapshot.sections:
        digest = current.facts.programs.get(section.program.section) if current is not None else None
        for process in section.processes:
            worker = process.worker
            if worker is not None and worker.alive and worker.digest and digest and worker.digest != digest:
                text = f"runs build {worker.built}, and build {current.facts.number if current else 0} says otherwise"
                yield Finding("not_updated", "warning", process.name, text, None, "Run `run/supervisorctl update`.")


def _end_of(process: Process) -> str:
    return f"; its log ends: {process.last_words}" if process.last_words else ""


def _silent(snapshot: Snapshot, section: SectionState) -> Iterator[Finding]:
    limit_s = getattr(section.program.settings, "stale_after", 0.0)
    if not limit_s:
        return
    age_s, words = section.success_age_s, "brought nothing for {}"
    if age_s is None:
        age_s = max((process.up_s or 0.0 for process in section.processes), default=0.0)
        words = "has brought nothing in the {} it runs"
    if age_s > limit_s:
        text = f"{words.format(age(age_s))}; stale_after is {age(limit_s)}"
        do = "See whether what it follows still grows, and whether its paths are right."
        yield Finding("source_stale", "error", section.program.section, text, snapshot.now - age_s, do)


def _books(snapshot: Snapshot) -> Iterator[Finding]:
    for account in snapshot.accounts:
        for sentence in imbalances(account):
            do = "See who else uses this Redis: DEL, LPOP and FLUSHALL take messages that nobody of ours took."
            yield Finding("books_unbalanced", "error", account.name, sentence, None, do)
        if account.dead:
            do = f"Look at them with `run/aggregator dead list --queue {account.name}`, then requeue or drop them."
            yield Finding("dead_letters", "warning", account.name, f"{account.dead:,} dead letters", None, do)


def _waiting(snapshot: Snapshot) -> Iterator[Finding]:
    """Find queues where messages wait for a worker that does not come."""
    served = {worker.queue for worker in snapshot.workers if worker.alive}
    enabled = {section.program.section: section.enabled for section in snapshot.sections}
    stages = {section.program.section for section in snapshot.sections if section.program.kind == "stage"}
    for account in snapshot.accounts:
        reader = section_of(snapshot.config, account)
        due = snapshot.overdue.get(account.name, Overdue())
        kinds = {"message": account.ready + account.in_flight + due.messages, "due timer": due.timers}
        number = sum(kinds.values())
        if account.is_source or not number or account.name in served or (reader and reader not in stages):
            continue
        if not reader:
            why, do = "no section here reads it", "Add a section that does, or see that another program takes them."
        elif enabled[reader]:
            why, do = f"{reader} is enabled", f"See why {reader} does not run: `run/aggregator status`, and its log."
        else:
            why, do = f"{reader} is disabled", f"Start it: `run/aggregator enable {reader}`."
        waiting = " and ".join(counted(these, noun) for noun, these in kinds.items() if these)
        text = f"{waiting} {'waits' if number == 1 else 'wait'}, and no worker lives that takes them: {why}"
        since = snapshot.now - account.oldest_age_s if account.ready else None
        yield Finding("messages_wait", "error", account.name, text, since, do)


def _viewed(snapshot: Snapshot) -> Iterator[Finding]:
    for view in snapshot.views:
        yield from view.overview.findings(snapshot.config, view.rows, snapshot.now)


def _told(snapshot: Snapshot) -> Iterator[Finding]:
    """Find the troubles that living workers of this node report, and the losses that nobody has acknowledged."""
    workers = [worker for worker in snapshot.workers if worker.alive and worker.node == snapshot.config.node]
    after_s = snapshot.config.aggregator.outage_after
    queues = {account.name: account for account in snapshot.accounts if not account.is_source}
    yield from outages(workers, queues, snapshot.now, after_s)
    yield from reported(workers, snapshot.now, after_s)
    yield from lasting(snapshot.losses)


def _collecting(snapshot: Snapshot) -> Iterator[Finding]:
    config = snapshot.config
    alive = {worker.section for worker in snapshot.workers if worker.alive and worker.node == config.node}
    queues = {account.name: account for account in snapshot.accounts if not account.is_source}
    served = {worker.queue for worker in snapshot.workers if worker.alive}

    def at_work(section: str) -> bool:
        # a section that is disabled may be run by hand
        return os.path.lexists(config.instance.enabled / f"{section}.conf") or section in alive

    def comes_from_outside(queue: str) -> bool:
        account = queues.get(resolve(queue, config.node))
        return snapshot.redis_error != "" or (account is not None and account.in_ + account.ready > 0)

    yield from idle_parts(config, [view.overview for view in snapshot.views], at_work, comes_from_outside)
    for finding in unread_queues(config, at_work):
        account = queues.get(resolve(finding.about, config.node))
        # messages that wait in the queue are an error of their own
        if resolve(finding.about, config.node) not in served and not (account and account.ready):
            yield finding
