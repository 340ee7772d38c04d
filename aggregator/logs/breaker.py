"""A circuit breaker: leave a neighbour alone for a while after it failed several times in a row."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone

from aggregator.errors import Unavailable

FAILURES = 3
"""So many failures in a row open the circuit."""


class Breaker:
    """Closed: everything passes. Open: nothing does, for `pause_s`. Half-open: one request tries.

    `show` is told the state in words. Safe to use from several threads.
    """

    def __init__(
        self, pause_s: float, show: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pause_s = pause_s
        self._show = show
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until: float | None = None
        self._reason = ""
        self._trying = False
        show("closed")

    def admit(self) -> None:
        """Let a request pass; the caller tells how it ended. Raises Unavailable while the circuit is open."""
        with self._lock:
            if self._open_until is None:
                return
            left_s = self._open_until - self._clock()
            if left_s > 0:
                raise Unavailable(self._reason, left_s)
            if self._trying:
                raise Unavailable(f"one request is trying whether it is over: {self._reason}", 1.0)
            self._trying = True
            self._show(f"half-open: {self._reason}")

    def succeeded(self) -> None:
        """Take note of an answer: the neighbour is well."""
        with self._lock:
            self._failures, self._trying = 0, False
            if self._open_until is not None:
                self._open_until = None
                self._show("closed")

    def failed(self, reason: str, pause_s: float = 0.0) -> float | None:
        """Take note of a failure. Returns for how long the circuit is open, at least `pause_s`; None when it is not."""
        with self._lock:
            self._failures += 1
            now = self._clock()
            if self._failures < FAILURES and self._open_until is None:
                return None
            # a late failure of a request sent before the circuit opened does not prolong it
            if self._open_until is None or self._trying:
                self._open_until = now + max(self._pause_s, pause_s)
                self._reason, self._trying = reason, False
                since = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
                self._show(f"open since {since} UTC: {reason}")
            return max(self._open_until - now, 0.0)
