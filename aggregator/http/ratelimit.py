"""A limit on how often a call may be made, shared by threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from aggregator.errors import Unavailable

_NAP_S = 0.2
"""How soon a waiting thread notices that the process is to stop."""


class Pace:
    """Space calls evenly; `per_s` 0 means no limit."""

    def __init__(
        self,
        per_s: float,
        stopping: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval_s = 1.0 / per_s if per_s else 0.0
        self._stopping = stopping
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Wait until it is the caller's turn. Raises Unavailable when the process is to stop before that."""
        if not self._interval_s:
            return
        with self._lock:
            turn = max(self._clock(), self._next)
            self._next = turn + self._interval_s
        while (left_s := turn - self._clock()) > 0:
            if self._stopping():
                raise Unavailable("stopping", 0.0)
            self._sleep(min(left_s, _NAP_S))
