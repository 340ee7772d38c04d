"""Which feeds are under way: the chain of ticks of each, begun once, ended when the feed leaves the configuration.

Cursors of the download: `feed:NAME` says when a feed's chain was begun and with which period, both in milliseconds;
`seen:NAME` when a tick of it last came, or up to half an hour before that; `clock` what time it last was.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from aggregator.feeds.fetching import schedule
from aggregator.feeds.messages.ticks import DueTick
from aggregator.feeds.settings.current import Configured
from aggregator.feeds.settings.table import Feed
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Cursor

CURSOR = "feed:"
SEEN = "seen:"
SEEN_EVERY_MS = 1_800_000
"""How often a sign of life of a feed is noted: 10,000 feeds write six of them a second."""
LOST_AFTER_MS = 7_200_000
"""And three periods: a feed without a sign for so long, while others showed some, has lost its tick."""
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


class Chains(Configured):
    """The feeds of the configuration and their chains. Safe to use from several threads."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._begun: dict[str, int] = {}
        self._forgotten: list[str] = []
        self._seen: dict[str, int] = {}
        self._signs: dict[str, int] = {}
        """Signs of life to be noted."""
        self._clock_ms = 0

    def begin(self, now_ms: int) -> Iterator[DueTick | Cursor]:
        """Yield the first tick of each feed that has none yet, none any more, or none soon enough.

        A tick planned by a clock that ran ahead would come only when the clock has caught up, and one that was planned
        with a longer period only when that is over. One that is lost (dropped from the dead letters) never comes: the
        chain begins anew with the tick after the last that is known of, so that those between are told as missed.
        """
        cursors = self.context.cursors
        clock_ms = int(cursors.get(CLOCK, "0"))
        set_back = clock_ms > now_ms + CLOCK_EVERY_MS
        if set_back:
            self.context.log.warning("clock_set_back by_s=%.0f: all feeds start anew", (clock_ms - now_ms) / 1000)
        if set_back or now_ms - clock_ms >= CLOCK_EVERY_MS:
            yield Cursor(CLOCK, str(now_ms))
        begun = {
            name.removeprefix(CURSOR): read_begun(text) for name, text in cursors.items() if name.startswith(CURSOR)
        }
        self._begun = {name: known.at_ms for name, known in begun.items()}
        self._seen = {name.removeprefix(SEEN): int(text) for name, text in cursors.items() if name.startswith(SEEN)}
        for feed in self.table.entries.values():
            known = begun.get(feed.name, Begun(0, 0))
            if set_back or feed.name not in begun or feed.period_ms < known.period_ms:
                first_ms = schedule.first_tick(now_ms, feed.name, feed.period_ms)
            elif self._is_lost(feed, known, clock_ms):
                self.context.log.warning("tick_lost feed=%s: its chain begins anew", feed.name)
                first_ms = schedule.next_after(self._last_sign(feed, known), feed.name, feed.period_ms)
            else:
                if known.period_ms == 0:
                    yield Cursor(f"{SEEN}{feed.name}", str(now_ms))
                if known.period_ms != feed.period_ms:
                    yield Cursor(f"{CURSOR}{feed.name}", f"{known.at_ms} {feed.period_ms}")
                continue
            chain = self._begun[feed.name] = max(now_ms, known.at_ms + 1)
            yield DueTick(feed=feed.name, planned_ms=first_ms, chain=chain)
            yield Cursor(f"{CURSOR}{feed.name}", f"{chain} {feed.period_ms}")

    def _is_lost(self, feed: Feed, known: Begun, clock_ms: int) -> bool:
        """True when a feed showed its last sign of life long before `clock_ms`, when others showed theirs."""
        quiet_ms = clock_ms - self._last_sign(feed, known)
        return known.period_ms > 0 and quiet_ms > LOST_AFTER_MS + 3 * max(feed.period_ms, known.period_ms)

    def _last_sign(self, feed: Feed, known: Begun) -> int:
        return max(self._seen.get(feed.name, 0), known.at_ms)

    def cursors(self, now_ms: int) -> dict[str, str]:
        """Return what is to be stored: the time now and then, and nothing any more of feeds that ended."""
        with self._lock:
            forgotten, self._forgotten = self._forgotten, []
            signs, self._signs = self._signs, {}
        cursors = {f"{SEEN}{name}": str(planned_ms) for name, planned_ms in signs.items()}
        for name in forgotten:
            cursors |= {f"{CURSOR}{name}": "", f"{SEEN}{name}": ""}
        if now_ms - self._clock_ms >= CLOCK_EVERY_MS:
            self._clock_ms = now_ms
            cursors[CLOCK] = str(now_ms)
        return cursors

    def end(self, name: str) -> None:
        """Forget a feed."""
        with self._lock:
            self._forgotten.append(name)
            self._begun.pop(name, None)
            self._seen.pop(name, None)
            self._signs.pop(name, None)

    def is_current(self, due: DueTick) -> bool:
        """True for a tick of the feed's chain, or of a younger one than was known; False for one of an older chain."""
        with self._lock:
            if due.chain < self._begun.get(due.feed, 0):
                return False
            self._begun[due.feed] = due.chain
            return True

    def see(self, name: str, now_ms: int) -> None:
        """Take a tick of a feed for a sign of life."""
        with self._lock:
            if abs(now_ms - self._seen.get(name, 0)) >= SEEN_EVERY_MS:
                self._seen[name] = self._signs[name] = now_ms
