"""When a feed is downloaded: a grid of planned times that nothing shifts, and when to leave a failing server alone.

Times are Unix milliseconds.
"""

from __future__ import annotations

import hashlib

PATIENCE = 2
"""This many failures in a row change nothing: most servers that fail once answer the next time."""
LONGEST_RETRY_AFTER_S = 86_400.0
FIRST_WITHIN_MS = 10_000


def phase_of(feed: str, period_ms: int) -> int:
    """Return where in its period a feed's grid begins: a constant of its name, so that feeds are spread evenly."""
    return int.from_bytes(hashlib.sha256(feed.encode()).digest()[:8], "big") % period_ms


def next_after(at_ms: int, feed: str, period_ms: int) -> int:
    """Return the feed's first planned time after a moment."""
    return last_until(at_ms, feed, period_ms) + period_ms


def last_until(at_ms: int, feed: str, period_ms: int) -> int:
    """Return the feed's last planned time up to a moment."""
    phase = phase_of(feed, period_ms)
    return (at_ms - phase) // period_ms * period_ms + phase


def first_tick(now_ms: int, feed: str, period_ms: int) -> int:
    """Return when a feed is downloaded for the first time: within ten seconds, however long its period."""
    if period_ms < FIRST_WITHIN_MS:
        return next_after(now_ms, feed, period_ms)  # on its grid at once, so that feeds are spread from the start
    return now_ms + phase_of(feed, FIRST_WITHIN_MS)


def backoff_ms(failures: int, period_ms: int, longest_ms: int) -> int:
    """Return how long to leave a feed alone after so many failures in a row; it doubles with each of them."""
    if failures <= PATIENCE:
        return 0
    wait_ms = min(period_ms << min(failures - PATIENCE, 20), longest_ms)
    return wait_ms if wait_ms > period_ms else 0
