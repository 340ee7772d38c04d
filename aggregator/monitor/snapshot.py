"""The state of an instance at one moment: its processes from supervisord, its workers and queues from Redis."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import msgspec

from aggregator.config.configuration import Config
from aggregator.config.programs import Program
from aggregator.monitor.lastwords import last_words
from aggregator.monitor.opening import RedisFailed, redis_of
from aggregator.monitor.outages import restarts
from aggregator.monitor.overviews import Overview, View, overviews_of
from aggregator.monitor.queuefacts import every_account
from aggregator.runtime.connection import warnings_about
from aggregator.runtime.keys import resolve
from aggregator.runtime.ledger import Account
from aggregator.runtime.neighbours import write_root
from aggregator.runtime.reading import Overdue, overdue
from aggregator.runtime.reports import Told, lasting_reports
from aggregator.runtime.roster import WorkerFacts, roster
from aggregator.runtime.worker import rss_kb
from aggregator.supervision import Control, ProcessState, SupervisorError
from aggregator.supervision.logpaths import log_of


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a section, as supervisord knows it and as its worker describes itself; None = unknown."""

    name: str
    supervised: ProcessState | None
    worker: WorkerFacts | None
    log: str = ""
    """The file that the process's output goes to; empty when that is no file."""
    last_words: str = ""
    """The last line of the log, for a process that does not come up."""

    @property
    def pid(self) -> int:
        """The process id, 0 when there is no process."""
        if self.supervised is not None:
            return self.supervised.pid
        return self.worker.pid if self.worker is not None and self.worker.alive else 0

    @property
    def up_s(self) -> float | None:
        """How long the process has been running; None when that is unknown."""
        seen = self.supervised
        if seen is not None:
            return float(seen.now - seen.started_at) if seen.pid else None
        return self.worker.up_s if self.worker is not None and self.worker.alive else None

    @property
    def rss_kb(self) -> int:
        """The resident memory of the process; 0 when there is no process, or the system does not tell."""
        if self.worker is not None and self.worker.alive:
            return self.worker.rss_kb
        # a process that says nothing of itself
        return rss_kb(self.supervised.pid) if self.supervised is not None and self.supervised.pid else 0


class SectionState(msgspec.Struct, frozen=True, kw_only=True):
    """One section, as it runs. Rates are in messages a second over the last minute."""

    program: Program
    enabled: bool
    processes: tuple[Process, ...]
    accounts: tuple[Account, ...]
    """The section's books: the account of its queue, or for a source the account of each process."""
    rate: float | None
    """The messages that leave its queue; for a source, the messages that arrive in the busiest queue it feeds."""
    success_age_s: float | None
    """How long ago the section last handled a message with success; None = never."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """An instance at one moment."""

    config: Config
    supervisor_error: str
    """Why supervisord did not answer; empty when it did."""
    redis_error: str
    redis_warnings: tuple[str, ...]
    sections: tuple[SectionState, ...]
    accounts: tuple[Account, ...]
    elsewhere: tuple[WorkerFacts, ...]
    """Living workers that belong to none of the sections here: of other nodes, or of sections that are gone."""
    workers: tuple[WorkerFacts, ...]
    overdue: dict[str, Overdue]
    """For each queue, how many delayed messages and timers are due already."""
    views: tuple[View, ...] = ()
    """The overviews, with their rows."""
    losses: tuple[Told, ...] = ()
    """The losses that stages reported and that no operator has acknowledged yet."""
    now: float = 0.0
    """Unix seconds by the clock of Redis, or by our own clock when Redis is away."""


class _Redis(msgspec.Struct, frozen=True, kw_only=True):
    error: str = ""
    warnings: tuple[str, ...] = ()
    now: float = 0.0
    workers: tuple[WorkerFacts, ...] = ()
    accounts: tuple[Account, ...] = ()
    overdue: dict[str, Overdue] = {}
    views: tuple[View, ...] = ()
    losses: tuple[Told, ...] = ()


def take(config: Config) -> Snapshot:
    """Look at everything once. The snapshot says when supervisord or Redis is away."""
    states, supervisor_error = _processes(config)
    overviews = overviews_of(config)
    redis = _ask_redis(config, overviews)
    sections = tuple(_section(config, program, states, redis) for program in config.programs.values())
    ours = {process.worker.name for section in sections for process in section.processes if process.worker}
    return Snapshot(
        config=config,
        supervisor_error=supervisor_error,
        redis_error=redis.error,
        redis_warnings=redis.warnings,
        sections=sections,
        accounts=redis.accounts,
        elsewhere=tuple(worker for worker in redis.workers if worker.alive and worker.name not in ours),
        workers=redis.workers,
        overdue=redis.overdue,
        views=redis.views or tuple(map(View, overviews)),
        losses=redis.losses,
        now=redis.now or time.time(),
    )


def _processes(config: Config) -> tuple[list[ProcessState], str]:
    try:
        return Control(config.instance.supervisor_socket).states(), ""
    except SupervisorError as error:
        return [], str(error)


def _ask_redis(config: Config, overviews: Sequence[Overview]) -> _Redis:
    try:
        with redis_of(config) as (client, keys):
            now, workers = roster(client, keys)
            accounts = every_account(config, client, keys)
            return _Redis(
                warnings=tuple(warnings_about(client)),
                now=now,
                workers=tuple(workers),
                accounts=tuple(accounts),
                overdue={a.name: overdue(client, keys, a.name, now) for a in accounts if a.delayed or a.timers},
                views=tuple(View(each, each.look(config, client, keys, now)) for each in overviews),
                losses=lasting_reports(client, keys),
            )
    except RedisFailed as error:
        return _Redis(error=str(error))


def _section(config: Config, program: Program, states: list[ProcessState], redis: _Redis) -> SectionState:
    supervised = {state.name: state for state in states if state.program == program.section}
    root = write_root(config.root)
    # a living worker of our name that works in another folder belongs to another instance
    workers = {worker.name: worker for worker in redis.workers if not worker.alive or worker.root in ("", root)}
    names = [f"{program.section}_{number}" for number in range(program.numprocs)]
    names += [name for name in supervised if name not in names]
    processes = tuple(
        _process(config, program, number, supervised.get(name), workers.get(f"{config.node}:{name}"), name)
        for number, name in enumerate(names)
    )
    accounts = _accounts(config, program, redis.accounts)
    committed = [account.last_commit for account in accounts if account.last_commit is not None]
    return SectionState(
        program=program,
        enabled=os.path.lexists(config.instance.enabled / f"{program.section}.conf"),
        processes=processes,
        accounts=accounts,
        rate=_rate(config, program, redis.accounts),
        success_age_s=max(0.0, redis.now - max(committed)) if committed else None,
    )


def _process(
    config: Config, program: Program, number: int, seen: ProcessState | None, worker: WorkerFacts | None, name: str
) -> Process:
    log = log_of(config, program, number)
    down = seen is not None and seen.state in ("BACKOFF", "FATAL", "EXITED")
    down = down or (worker is not None and restarts(worker) is not None)
    return Process(
        name=name,
        supervised=seen,
        worker=worker,
        log=str(log or ""),
        last_words=last_words(log) if log and down else "",
    )


def _accounts(config: Config, program: Program, accounts: tuple[Account, ...]) -> tuple[Account, ...]:
    if program.listens is not None:
        return tuple(account for account in accounts if account.name == resolve(program.listens, config.node))
    own = {f"{config.node}:{program.section}_{number}" for number in range(program.numprocs)}
    return tuple(account for account in accounts if account.name in own)


def _rate(config: Config, program: Program, accounts: tuple[Account, ...]) -> float | None:
    if program.listens is not None:
        return next((a.rate_out for a in accounts if a.name == resolve(program.listens, config.node)), None)
    fed = {resolve(queue, config.node) for queue in program.feeds}
    return max((account.rate_in for account in accounts if account.name in fed), default=None)
