"""How long to wait before a stream is connected again, by what ended it."""

from __future__ import annotations

from typing import NamedTuple


class Growth(NamedTuple):
    """Waits that grow with each failure in a row: first_s · factor^n + add_s · n, at most most_s."""

    first_s: float
    most_s: float
    add_s: float = 0.0
    factor: float = 1.0

    def wait_s(self, failures: int) -> float:
        """Return the wait after so many failures in a row, counted from 1."""
        # beyond 64 doublings every wait has reached its limit, and a float its range soon after
        earlier = min(max(failures - 1, 0), 64)
        return min(self.first_s * self.factor**earlier + self.add_s * earlier, self.most_s)


class Schedule(NamedTuple):
    """The waits of one platform."""

    network: Growth
    """After a connection that could not be made, was cut or went silent."""
    http: Growth
    """After an answer that is an error."""
    rate_limit: Growth
    """After an answer that says that there were too many requests (420, 429)."""
    at_once: bool = True
    """True when the first attempt after a connection that had lasted is made without a wait."""


class Waits:
    """The waits of one stream, from failure to failure."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._failures = {"network": 0, "http": 0, "rate_limit": 0}
        self._has_lasted = False

    def lasted(self) -> None:
        """Begin anew: a connection has lasted."""
        self._failures = dict.fromkeys(self._failures, 0)
        self._has_lasted = True

    def after(self, kind: str, told_s: float | None = None) -> float:
        """Return the seconds to wait after a failure: `network`, `http` or `rate_limit`.

        The server may have told how long to wait; it is left alone for that long at least.
        """
        if kind == "network" and self._has_lasted and self._schedule.at_once:
            self._has_lasted = False
            return told_s or 0.0
        self._has_lasted = False
        self._failures[kind] += 1
        growth: Growth = getattr(self._schedule, kind)
        return max(growth.wait_s(self._failures[kind]), told_s or 0.0)
