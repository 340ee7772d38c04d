"""A circuit breaker: leave a neighbour alone for a while after it failed several times in a row."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import NamedTuple

from aggregator.errors import Unavailable

FAILURES = 3
"""How many failures in a row open the circuit."""


class Trouble(NamedTuple):
    """Why a circuit is not closed."""

    since: float
    """When the first failure came that no success has followed, Unix seconds."""
    reason: str


class Breaker:
    """Closed: every request passes. Open: none does, for `pause_s`. Half-open: one request tries.

    `show` is told the state in words, and why the circuit is not closed. An outage lasts from the first failure to the
    next success, however often the circuit was half-open meanwhile. Safe to use from several threads.
    """

    def __init__(
        self,
        pause_s: float,
        show: Callable[[str, Trouble | None], None],
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._pause_s = pause_s
        self._show = show
        self._clock = clock
        self._wall_clock = wall_clock
        self._since = 0.0
        self._answered = False
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until: float | None = None
        self._reason = ""
        self._trying = False
        show("closed", None)

    def admit(self) -> None:
        """Let a request pass, whose end the caller must report. Raises Unavailable while the circuit is open."""
        with self._lock:
            if self._open_until is None:
                return
            left_s = self._open_until - self._clock()
            if left_s > 0:
                raise Unavailable(self._reason, left_s)
            if self._trying:
                raise Unavailable(f"one request is trying whether it is over: {self._reason}", 1.0)
            self._trying = True
            self._show(f"half-open, away since {_stamp(self._since)}: {self._reason}", self._trouble)

    def succeeded(self) -> None:
        """Take note of an answer: the neighbour is well."""
        with self._lock:
            self._failures, self._trying, self._since = 0, False, 0.0
            # the first answer of a process also ends an outage that the process before it reported
            if self._open_until is not None or not self._answered:
                self._open_until, self._answered = None, True
                self._show("closed", None)

    def failed(self, reason: str, pause_s: float = 0.0) -> float | None:
        """Take note of a failure. Returns for how long the circuit is open; None when it is closed.

        A circuit that this failure opens stays open for at least `pause_s`.
        """
        with self._lock:
            self._failures += 1
            self._since = self._since or self._wall_clock()
            now = self._clock()
            if self._failures < FAILURES and self._open_until is None:
                return None
            # a late failure of a request sent before the circuit opened does not prolong it
            if self._open_until is None or self._trying:
                self._open_until = now + max(self._pause_s, pause_s)
                self._reason, self._trying = reason, False
                again = datetime.fromtimestamp(self._wall_clock() + self._open_until - now, timezone.utc)
                self._show(f"open since {_stamp(self._since)}, next try {again:%H:%M:%S}: {reason}", self._trouble)
            return max(self._open_until - now, 0.0)

    @property
    def _trouble(self) -> Trouble:
        return Trouble(self._since, self._reason)


def _stamp(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
