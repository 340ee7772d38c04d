"""A snapshot for programs: the JSON of `status`."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import msgspec

from aggregator import __version__
from aggregator.config.redisurl import mask
from aggregator.monitor.queuefacts import queue_facts
from aggregator.monitor.snapshot import SectionState, Snapshot
from aggregator.runtime.keys import Keys
from aggregator.runtime.roster import WorkerFacts


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return the whole snapshot as data for JSON."""
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
        "queues": queues_of(snapshot),
        **{view.overview.name: [dict(view.overview.as_json(row)) for row in view.rows] for view in snapshot.views},
    }


def _section_json(section: SectionState) -> dict[str, Any]:
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
        "counts": _counts(section),
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


def _counts(section: SectionState) -> dict[str, int]:
    """Return the counters of a section: each process of a source has an account of its own."""
    found: Counter[str] = Counter()
    for account in section.accounts:
        found.update(account.counts)
    return dict(found)


def _worker_json(worker: WorkerFacts) -> dict[str, Any]:
    return {**msgspec.to_builtins(worker), "alive": worker.alive}


def queues_of(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Return the facts of each queue."""
    keys = Keys(snapshot.config.redis.namespace)
    return [queue_facts(snapshot.config, keys, account) for account in snapshot.accounts if not account.is_source]
