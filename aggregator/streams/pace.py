"""How many events a stream brings a second."""

from __future__ import annotations

from collections import deque

BEGINNING = b'{"kind":"event",'
"""What the body of an event begins with, and no other message of a stream."""
_SECONDS = 60


class Pace:
    """The events of the last minute."""

    def __init__(self, began: float | None = None) -> None:
        """`began` is when events could come, in Unix seconds; without it that is the first call of `per_second`."""
        self._counts: deque[tuple[int, int]] = deque()
        """(second, events), the oldest first."""
        self._began = began

    def add(self, now: float, number: int) -> None:
        """Count events that came."""
        second = int(now)
        if self._counts and self._counts[-1][0] == second:
            number += self._counts.pop()[1]
        self._counts.append((second, number))

    def per_second(self, now: float) -> float:
        """Return the events a second over the last minute, or since the beginning if that is less."""
        self._began = now if self._began is None else self._began
        while self._counts and self._counts[0][0] <= now - _SECONDS:
            self._counts.popleft()
        return sum(number for _, number in self._counts) / min(max(now - self._began, 1.0), _SECONDS)
