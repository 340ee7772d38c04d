"""Go on with a stream whose platform begins some seconds before the last event: what is new, what came already."""

from __future__ import annotations

from typing import NamedTuple

from aggregator.streams.overlap import Overlap
from aggregator.streams.platforms.jetstream import key_of, moment_us

_HOLE = "the server did not go back as far as it was asked to"


class Hole(NamedTuple):
    """A time whose events the server does not have any more."""

    from_ms: int
    to_ms: int
    detail: str


class Replay:
    """What is known of the place in the stream; the marks are moments in Unix microseconds."""

    def __init__(self, overlap: Overlap) -> None:
        self.overlap = overlap
        self._asked_us = 0
        """The newest event before the connection, until the first one came over it."""
        self._newest_us = 0
        self._fresh: set[bytes] = set()
        """The keys of the events that were looked at and are not written yet."""
        self.late = ""
        """What the server said of a cursor that is too old."""

    def begin(self, mark: str) -> None:
        """A connection was made that goes on behind this mark; empty when it begins with what comes now."""
        self._asked_us = self._newest_us = int(mark or 0)
        self._fresh.clear()
        self.late = ""

    def look(self, data: bytes, now_ms: int) -> tuple[str, bytes, Hole | None]:
        """Return the mark behind an event, its key, and the hole before it; both are empty where it has no time.

        The newest event from before the connection was asked for once more. When a later one comes first, the server
        had thrown away what was between them: it does not say so itself.
        """
        moment = moment_us(data, now_ms)
        if not moment:
            return "", b"", None
        hole = None
        if 0 < self._asked_us < moment:
            hole = Hole(self._asked_us // 1000, moment // 1000, self.late or _HOLE)
        self._asked_us = 0
        self._newest_us = max(self._newest_us, moment)
        return str(self._newest_us), key_of(data), hole

    def is_repeated(self, key: bytes) -> bool:
        """True when an event came already; otherwise it counts as one that came."""
        if not key:
            return False
        if key in self._fresh or key in self.overlap:
            return True
        self._fresh.add(key)
        return False

    def written(self, done: bool) -> None:
        """The events that were looked at are in the journal, or found no room there. Raises OSError."""
        self._fresh.clear()
        if done:
            self.overlap.confirm(self._newest_us)
        else:
            self.overlap.take_back()
