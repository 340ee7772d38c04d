"""When a feed is downloaded: a fixed grid of planned times, and pauses for a failing server.

Times are Unix milliseconds.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from aggregator.runtime.schedule import Every

PATIENCE = 2
"""How many failures in a row cause no pause, as most servers that fail once answer the next time."""
LONGEST_RETRY_AFTER_S = 86_400.0
FIRST_WITHIN_MS = 10_000


class FeedTiming(NamedTuple):
    """The planned times of a feed: a grid whose phase depends on the feed's name, so that feeds are spread evenly."""

    feed: str
    period_ms: int

    @property
    def grid(self) -> Every:
        """The feed's planned times."""
        return Every(self.period_ms, _spread(self.feed, self.period_ms))

    def next_after(self, at_ms: int) -> int:
        """Return the feed's first planned time after a moment."""
        return self.grid.next_after(at_ms)

    def last_until(self, at_ms: int) -> int:
        """Return the feed's last planned time at or before a moment."""
        return self.grid.last_until(at_ms)

    def first(self, now_ms: int) -> int:
        """Return when the feed is downloaded for the first time: within ten seconds, however long its period."""
        if self.period_ms < FIRST_WITHIN_MS:
            return self.next_after(now_ms)  # use the grid at once, so that feeds are spread from the start
        return now_ms + _spread(self.feed, FIRST_WITHIN_MS)


def _spread(feed: str, within_ms: int) -> int:
    """Return an offset below `within_ms` that depends on a feed's name only, so that many feeds are spread evenly."""
    return int.from_bytes(hashlib.sha256(feed.encode()).digest()[:8], "big") % within_ms


def backoff_ms(failures: int, period_ms: int, longest_ms: int) -> int:
    """Return how long to pause a feed after a number of failures in a row; each further failure doubles the pause."""
    if failures <= PATIENCE:
        return 0
    wait_ms = min(period_ms << min(failures - PATIENCE, 20), longest_ms)
    return wait_ms if wait_ms > period_ms else 0
