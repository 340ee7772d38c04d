"""The roster of workers: what each worker last said about itself, and whether it is alive."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from aggregator.runtime.heartbeat import LEASE_S
from aggregator.runtime.keys import Keys
from aggregator.runtime.outages import Outage, read_outages
from aggregator.runtime.reports import Told, read_reports
from aggregator.runtime.scripts import script

_ROSTER = script("roster")


class WorkerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One worker at one instant; ages in seconds by the clock of Redis, None = never."""

    name: str
    node: str
    section: str
    number: int
    queue: str
    """The queue that the worker reads; empty for a source."""
    state: str
    """starting, idle, busy, paused, held back, waiting or stopped."""
    reason: str
    state_age_s: float
    beat_age_s: float | None
    up_s: float
    pid: int
    rss_kb: int
    handled: int
    version: str
    root: str
    """The folder of the worker's instance, as `neighbours.write_root` writes it; empty for older versions."""
    notes: dict[str, str]
    instance: str = ""
    """The id of the worker's instance; empty for older versions."""
    machine: str = ""
    built: int = 0
    """The number of the build that the worker runs; 0 = none."""
    digest: str = ""
    """The digest of the worker's section in that build."""
    belongings: tuple[str, ...] = ()
    """What the cursors of the worker's section are about (`Stage.belongings`)."""
    outages: tuple[Outage, ...] = ()
    """What keeps the worker from its work, the longest outage first."""
    reports: tuple[Told, ...] = ()
    """The reports of the worker's stage."""

    @property
    def owner(self) -> str:
        """The owner of the cursors of the worker's section: `node:section`."""
        return f"{self.node}:{self.section}"

    @property
    def alive(self) -> bool:
        """True while the worker shows signs of life."""
        return self.state != "stopped" and self.beat_age_s is not None and self.beat_age_s < LEASE_S


class Roster(NamedTuple):
    """Every worker that was ever started in a namespace, in the order of their names; `now` by the clock of Redis."""

    now: float
    workers: list[WorkerFacts]


def roster(client: Any, keys: Keys) -> Roster:
    """Return the roster of a namespace."""
    reply = _ROSTER.run(client, [keys.workers], [keys.worker("")])
    now = float(reply[0])
    found = [_facts(reply[i].decode(), _texts(reply[i + 1]), now) for i in range(1, len(reply), 2)]
    return Roster(now, sorted(found, key=lambda facts: (facts.node, facts.section, facts.number)))


def _texts(flat: list[bytes]) -> dict[str, str]:
    return {flat[i].decode(): flat[i + 1].decode("utf-8", "replace") for i in range(0, len(flat), 2)}


def _facts(name: str, texts: dict[str, str], now: float) -> WorkerFacts:
    node, _, rest = name.partition(":")
    section, _, number = rest.rpartition("_")
    beat_at = texts.get("beat_at")
    return WorkerFacts(
        name=name,
        node=node,
        section=section,
        number=int(number),
        queue=texts.get("queue", ""),
        state=texts.get("state", ""),
        reason=texts.get("reason", ""),
        state_age_s=max(0.0, now - float(texts.get("since", now))),
        beat_age_s=max(0.0, now - float(beat_at)) if beat_at else None,
        up_s=max(0.0, now - float(texts.get("started", now))),
        pid=int(texts.get("pid", 0)),
        rss_kb=int(texts.get("rss_kb", 0)),
        handled=int(texts.get("handled", 0)),
        version=texts.get("version", ""),
        root=texts.get("root", ""),
        instance=texts.get("instance", ""),
        machine=texts.get("machine", ""),
        built=int(texts.get("built", 0)),
        digest=texts.get("digest", ""),
        belongings=msgspec.json.decode(texts.get("belongings", "[]"), type=tuple[str, ...]),
        notes={field[len("note:") :]: text for field, text in sorted(texts.items()) if field.startswith("note:")},
        outages=read_outages(texts),
        reports=read_reports(texts),
    )
