"""Findings about workers that cannot go on: a warning from the first failure, an error once it has lasted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from aggregator.monitor.finding import Finding, level_after
from aggregator.monitor.reports import OUTAGES
from aggregator.runtime.ledger import Account
from aggregator.runtime.outages import Outage
from aggregator.runtime.roster import WorkerFacts

HELD_BACK_S = 10.0
"""How long a section may be held back without a finding: a full queue often holds its feeders back for moments, which
keeps all stages at the same pace."""
RESTARTS = 3
YOUNG_S = 60.0
"""A process that has vanished `RESTARTS` times, and is younger than this, is likely to vanish again."""
REDIS_FULL_S = 60.0
"""How long a Redis at its maxmemory may take to drain."""


def outages(
    workers: Sequence[WorkerFacts], accounts: Mapping[str, Account], now: float, after_s: float
) -> Iterator[Finding]:
    """Find what keeps living workers from their work; `accounts` are those of the queues, by name."""
    stuck = {worker.queue for worker in workers for outage in _standing(worker, accounts, now) if outage.kind == "away"}
    for worker in workers:
        told = any(report.code in OUTAGES for report in worker.reports)
        for outage in _standing(worker, accounts, now):
            # a stage that reports the outage itself knows more about it
            if not (told and outage.kind == "away"):
                yield from _finding(worker, outage, stuck, now, after_s)


def restarts(worker: WorkerFacts) -> Outage | None:
    """Return the outage of a worker whose process ends again and again; supervisord shows it as running in between."""
    found = next((outage for outage in worker.outages if outage.kind == "vanished"), None)
    return found if found and found.times >= RESTARTS and worker.up_s < YOUNG_S else None


def standing_outage(worker: WorkerFacts, accounts: Mapping[str, Account], now: float) -> Outage | None:
    """Return what has kept a worker from its work for the longest time; None when nothing does."""
    return next(iter(_standing(worker, accounts, now)), None)


def _standing(worker: WorkerFacts, accounts: Mapping[str, Account], now: float) -> list[Outage]:
    found = [outage for outage in worker.outages if outage.kind != "vanished"]
    if not found and worker.state in ("paused", "waiting", "held back"):
        # a worker of an older version reports its state only
        since = now - worker.state_age_s
        kind = "full" if worker.state == "held back" else "away"
        found = [Outage(kind=kind, since=since, reason=worker.reason)]  # type: ignore[arg-type]
    return [outage for outage in found if not (outage.kind == "away" and _has_nothing_to_do(worker, accounts))]


def _has_nothing_to_do(worker: WorkerFacts, accounts: Mapping[str, Account]) -> bool:
    """True for an idle worker whose queue is empty, because a sibling or an operator has seen to its messages."""
    account = accounts.get(worker.queue)
    return worker.state == "idle" and account is not None and not account.ready + account.in_flight + account.delayed


def _finding(
    worker: WorkerFacts, outage: Outage, stuck: Collection[str], now: float, after_s: float
) -> Iterator[Finding]:
    about = worker.name.partition(":")[2]
    level = level_after(outage.since, now, after_s)
    if outage.kind == "redis_full":
        do = "Raise the maxmemory of Redis, or let queues drain: `run/aggregator queues` shows which are long."
        level = level_after(outage.since, now, min(REDIS_FULL_S, after_s))
        yield Finding("redis_full", level, about, outage.reason, outage.since, do)
    elif outage.kind == "full":
        # the outage that holds a consumer back is reported where it happens; a source that is held back collects
        # nothing
        if worker.queue and outage.queue in stuck:
            level = "warning"
        if now - outage.since >= min(HELD_BACK_S, after_s):
            queue = outage.queue or "that queue"
            do = f"See why the section that reads {queue} does not go on; nothing that was taken in is lost meanwhile."
            yield Finding("held_back", level, about, f"held back: {outage.reason}", outage.since, do)
    else:
        do = "Mend what it needs, as the reason says; it tries again by itself, and loses nothing that it took in."
        yield Finding("outage", level, about, f"cannot go on: {outage.reason}", outage.since, do)
