"""Which feeds are under way: the chain of ticks of each, begun once, ended when the feed leaves the configuration.

Cursors of the download: `feed:NAME` says when a feed's chain was begun and with which period, both in milliseconds;
`clock` what time it last was.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple

from aggregator.feeds import pace
from aggregator.feeds.feedtable import Feed
from aggregator.feeds.messages import DueTick
from aggregator.runtime.stage import Context, Cursor

CURSOR = "feed:"
CLOCK = "clock"
CLOCK_EVERY_MS = 5_000
"""How often the time is noted, and by how much the clock may go back without anything being made of it."""


class Begun(NamedTuple):
    """The beginning of a chain."""

    at_ms: int
    period_ms: int
    """The feed's period then; 0 where it was not noted."""


def read_begun(text: str) -> Begun:
    """Read the cursor of a feed; in an old one the period may be missing."""
    at_ms, _, period_ms = text.partition(" ")
    return Begun(int(at_ms), int(period_ms or 0))


class Chains:
    """The feeds of the configuration and their chains. Safe to use from several threads."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.table = context.feeds()
        self._begun: dict[str, int] = {}
        self._forgotten: list[str] = []
        self._clock_ms = 0
        self._lock = threading.Lock()

    def begin(self, now_ms: int) -> Iterator[DueTick | Cursor]:
        """Yield the first tick of each feed that has none yet, or none soon enough.

        A tick planned by a clock that ran ahead would come only when the clock has caught up, and one that was planned
        with a longer period only when that is over.
        """
        cursors = self.context.cursors
        clock_ms = int(cursors.get(CLOCK, "0"))
        set_back = clock_ms > now_ms + CLOCK_EVERY_MS
        if set_back:
            self.context.log.warning("clock_set_back by_s=%.0f: all feeds start anew", (clock_ms - now_ms) / 1000)
            yield Cursor(CLOCK, str(now_ms))
        begun = {
            name.removeprefix(CURSOR): read_begun(text) for name, text in cursors.items() if name.startswith(CURSOR)
        }
        self._begun = {name: known.at_ms for name, known in begun.items()}
        for feed in self.table.feeds.values():
            known = begun.get(feed.name, Begun(0, 0))
            if set_back or feed.name not in begun or feed.period_ms < known.period_ms:
                known = Begun(max(now_ms, known.at_ms + 1), 0)
                first_ms = pace.first_tick(now_ms, feed.name, feed.period_ms)
                yield DueTick(feed=feed.name, planned_ms=first_ms, chain=known.at_ms)
            if feed.period_ms != known.period_ms:
                self._begun[feed.name] = known.at_ms
                yield Cursor(f"{CURSOR}{feed.name}", f"{known.at_ms} {feed.period_ms}")

    def cursors(self, now_ms: int) -> dict[str, str]:
        """Return what is to be stored: the time now and then, and nothing any more of feeds that ended."""
        with self._lock:
            forgotten, self._forgotten = self._forgotten, []
        cursors = {f"{CURSOR}{name}": "" for name in forgotten}
        if now_ms - self._clock_ms >= CLOCK_EVERY_MS:
            self._clock_ms = now_ms
            cursors[CLOCK] = str(now_ms)
        return cursors

    def feed(self, name: str) -> Feed | None:
        """Return a feed as it is configured, None when it is not, or cannot be read.

        Before that is said the configuration is read anew: a sibling that started later may know more feeds.
        """
        found: Feed | None = self.table.feeds.get(name)
        if found is None:
            with self._lock:
                if not self.table.is_current():
                    self.table = self.context.feeds()
                found = self.table.feeds.get(name)
        return found

    def end(self, name: str) -> None:
        """Forget a feed."""
        with self._lock:
            self._forgotten.append(name)
            self._begun.pop(name, None)

    def stands(self, due: DueTick) -> bool:
        """True for a tick of the feed's chain, or of a younger one than was known; False for one of an older chain."""
        with self._lock:
            if due.chain < self._begun.get(due.feed, 0):
                return False
            self._begun[due.feed] = due.chain
            return True
