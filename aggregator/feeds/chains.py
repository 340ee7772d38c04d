"""Which feeds are under way: the chain of ticks of each, begun once, ended when the feed leaves the configuration.

The cursor `feed:NAME` of the download says when a feed's chain was begun, the cursor `clock` what time it last was.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from aggregator.feeds import pace
from aggregator.feeds.feedtable import Feed
from aggregator.feeds.messages import DueTick
from aggregator.runtime.stage import Context, Cursor

CURSOR = "feed:"
CLOCK = "clock"
CLOCK_EVERY_MS = 5_000
"""How often the time is noted, and by how much the clock may go back without anything being made of it."""


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
        """Yield the first tick of each feed that has none yet; of all of them when the clock was set back.

        A tick planned by a clock that ran ahead would come only when the clock has caught up.
        """
        cursors = self.context.cursors
        clock_ms = int(cursors.get(CLOCK, "0"))
        set_back = clock_ms > now_ms + CLOCK_EVERY_MS
        if set_back:
            self.context.log.warning("clock_set_back by_s=%.0f: all feeds start anew", (clock_ms - now_ms) / 1000)
            yield Cursor(CLOCK, str(now_ms))
        self._begun = {
            name.removeprefix(CURSOR): int(begun) for name, begun in cursors.items() if name.startswith(CURSOR)
        }
        for feed in self.table.feeds.values():
            if set_back or feed.name not in self._begun:
                chain = max(now_ms, self._begun.get(feed.name, 0) + 1)
                self._begun[feed.name] = chain
                yield DueTick(
                    feed=feed.name, planned_ms=pace.first_tick(now_ms, feed.name, feed.period_ms), chain=chain
                )
                yield Cursor(f"{CURSOR}{feed.name}", str(chain))

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
