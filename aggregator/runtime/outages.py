"""Outages: what keeps a worker from its work, from the first failure until something really succeeded.

A worker that pauses tries one message now and then, and is busy or idle meanwhile, so its state does not tell how long
the service that it needs has been away. An outage also outlives the process: a restart does not repair that service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Literal

import msgspec

from aggregator.runtime.message import ascii_text

Kind = Literal["away", "full", "redis", "redis_full", "vanished"]
"""`away`: what the stage needs is away; `full`: a queue that it feeds is full; `redis`: Redis is away; `redis_full`:
Redis is at its maxmemory; `vanished`: the worker's process ended without a word before it got anything done."""

FIELD = "outage:"
"""The prefix of the fields of a worker's hash that tell of its outages."""
REMEMBERED_S = 900.0
"""What an incarnation said no longer counts when it was last seen this long ago."""


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that keeps a worker from its work."""

    kind: Kind
    since: float
    """Unix seconds of the first failure."""
    reason: str
    queue: str = ""
    """The name in Redis of the queue that is full."""
    times: int = 0
    """How often the worker's process vanished."""


class Outages:
    """The outages of one worker. Only its main thread changes them; the heartbeat's thread reads them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._former: dict[str, float] = {}
        self._standing: dict[str, Outage] = {}

    def recall(self, former: Iterable[Outage], vanished_at: float = 0.0) -> None:
        """Take over the outages that the previous incarnation reported.

        `vanished_at` is when that incarnation was last seen, if it did not say that it ends. An outage of Redis is
        over, since Redis has just answered; should Redis go away again, it is the same outage.
        """
        for outage in former:
            if outage.kind in ("redis", "redis_full"):
                self._former[outage.kind] = outage.since
            else:
                self._standing[outage.kind] = outage
        if vanished_at:
            known = self._standing.get("vanished")
            since, times = (known.since, known.times + 1) if known else (vanished_at, 1)
            reason = "its process ended before it got anything done"
            self._standing["vanished"] = Outage(kind="vanished", since=since, reason=reason, times=times)

    def fail(self, kind: Kind, reason: str, *, since: float = 0.0, queue: str = "") -> None:
        """Record a failure; an outage that stands keeps its beginning. `since` is when failures began; 0 = now."""
        known = self._standing.get(kind)
        began = known.since if known else self._former.pop(kind, 0.0) or since or self._clock()
        # a new dict: the heartbeat's thread may be reading the old one
        outage = Outage(kind=kind, since=began, reason=ascii_text(reason[:300]), queue=queue)
        self._standing = {**self._standing, kind: outage}

    def end(self, *kinds: Kind) -> None:
        """End the outages of these kinds, because something succeeded."""
        if self._standing or self._former:
            self._standing = {kind: outage for kind, outage in self._standing.items() if kind not in kinds}
            self._former = {kind: since for kind, since in self._former.items() if kind not in kinds}

    def fields(self) -> dict[str, str | int]:
        """Return the outages as fields of the worker's hash."""
        return {f"{FIELD}{kind}": msgspec.json.encode(outage).decode() for kind, outage in self._standing.items()}


def read_outages(texts: Mapping[str, str]) -> tuple[Outage, ...]:
    """Return the outages in a worker's hash, the longest first; outages in another version's form are left out."""
    found = []
    for field, text in texts.items():
        if field.startswith(FIELD):
            with suppress(msgspec.DecodeError):
                found.append(msgspec.json.decode(text, type=Outage))
    return tuple(sorted(found, key=lambda outage: outage.since))
