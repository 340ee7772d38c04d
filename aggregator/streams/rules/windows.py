"""What rule managers look at to see that rules are at work: a heartbeat, matches and limit notices of late.

In Traptor the heartbeat had minutes where its months belong, two matches of one moment counted once, and limit notices
were gone within five seconds because they were pruned by their number as if it were a time.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from aggregator.streams.rules.names import SetName

PRUNE_S = 5.0
"""How often what is older than the window goes."""
_LEAST_BEAT_S = 5.0


def beat(client: Any, name: SetName, interval_s: float, now: float) -> None:
    """Show that somebody collects by a rule set, for one and a half times the interval; `now` in Unix seconds.

    A collector whose credentials fail does not call this, so that the rule manager gives its rules to another one.
    """
    moment = datetime.fromtimestamp(now, timezone.utc).strftime("%Y%m%d%H%M%S")
    client.set(name.heartbeat, moment, ex=int(1.5 * max(interval_s, _LEAST_BEAT_S)))


def note_limit(client: Any, name: SetName, lost: int, now: float, window_s: float) -> None:
    """Note a limit notice: `lost` is the number of events that the platform has withheld on this connection so far.

    The score is the time, in Unix seconds; the member is the number and the time.
    """
    with client.pipeline(transaction=False) as pipeline:
        pipeline.zadd(name.limit, {f"{lost} {now:.6f}": now})
        _prune(pipeline, name.limit, now, window_s)
        pipeline.execute()


class Matches:
    """How often each rule of a set matched within the last `window_s` seconds: one member for each match."""

    def __init__(self, name: SetName, window_s: float) -> None:
        self._name = name
        self._window_s = window_s
        self._new: Counter[str] = Counter()
        self._kept: set[str] = set()
        self._prune_at = 0.0
        self._mark = secrets.token_hex(4)
        self._serial = 0

    def count(self, rule_ids: Iterable[str]) -> None:
        """Count one match of each of these rules."""
        self._new.update(rule_ids)

    def write(self, client: Any, now: float) -> None:
        """Write what was counted since the last call, and prune every five seconds; `now` in Unix seconds."""
        new, self._new = self._new, Counter()
        self._kept |= new.keys()
        due = now >= self._prune_at
        if not new and not due:
            return
        with client.pipeline(transaction=False) as pipeline:
            for rule_id, times in new.items():
                pipeline.zadd(self._name.stats(rule_id), {self._member(): now for _ in range(times)})
            for rule_id in self._kept if due else new:
                _prune(pipeline, self._name.stats(rule_id), now, self._window_s)
            pipeline.execute()
        if due:
            self._prune_at = now + PRUNE_S

    def _member(self) -> str:
        """Return a text that no other match, of this process or another one, has."""
        self._serial += 1
        return f"{self._mark}-{self._serial}"


def _prune(pipeline: Any, key: str, now: float, window_s: float) -> None:
    pipeline.zremrangebyscore(key, "-inf", f"({now - window_s:.6f}")
    pipeline.expire(key, int(window_s) + 1)
