"""Poll a source, and commit what it brings at its cursors while its targets have room."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial

from aggregator.errors import LeaseLost, Unavailable
from aggregator.runtime.batch import Batch, Position
from aggregator.runtime.contract import Cursor, Drop, Flush, Send, Source
from aggregator.runtime.loop import FULL_S, Loop

COMMIT_S = 1.0
"""Messages that are covered by a cursor are committed at least this often."""


class SourceIntake:
    """Commit what a source yields, at its cursors."""

    def __init__(self, loop: Loop, source: Source) -> None:
        self.loop = loop
        self.queue = loop.queue
        self.source = source
        self._stored: dict[str, str] = {}
        """The positions of the section, as they were committed last."""
        self._left: Unavailable | None = None
        """Why what may only happen after a commit could not; it is tried again before the next poll."""

    def begin(self) -> None:
        """Learn which positions were committed before."""
        self._stored = dict(self.loop.context.cursors)

    def turn(self) -> None:
        """Poll once, or wait for room."""
        for lease in self.loop.context.leases.lost():
            if not self.loop.settled(partial(self.source.lost, lease)):
                return
        if self._left is not None:
            self._left = self.loop.committed(self.source.committed)
        if self._pauses() or self._held_back():
            return
        try:
            brought = self._poll()
        except Unavailable as error:
            self.loop.unavailable(error)
            return
        except LeaseLost as error:
            self.loop.log.warning("lease_lost reason=%s", error)
            self.loop.context.leases.drop(error.pool, error.name)
            return
        if self._pauses():
            return
        self.loop.outages.end("away", "vanished")
        if brought:
            self.loop.show("busy")
        else:
            self.loop.show("idle")
            if not self.loop.ends_empty(None):
                self.loop.sleep(self.source.settings.idletime)

    def finish(self) -> None:
        """Commit what the source has taken in and not brought yet, while the targets have room."""
        try:
            while self._left is None and self.source.remains() and not self.loop.call(self.queue.room):
                if not self._poll():
                    return
        except (Unavailable, LeaseLost) as error:
            self.loop.log.warning("left reason=%s: what was taken in is brought at the next start", error)

    def _pauses(self) -> bool:
        """Pause when something is left to do after the last commit. Returns whether it is."""
        if self._left is not None:
            self.loop.unavailable(self._left)
        return self._left is not None

    def _poll(self) -> bool:
        """Commit what a poll yields. Returns False when the poll brought nothing."""
        began, brought = time.perf_counter(), False
        batch, covered = Batch(), 0
        uncovered: list[object] = []
        try:
            for outcome in self.source.poll(self.loop.context.clock()):
                if type(outcome) is not Cursor and type(outcome) is not Flush:
                    uncovered.append(outcome)
                    continue
                brought = brought or bool(uncovered)
                covered += len(uncovered)
                _take(batch, uncovered)
                uncovered.clear()
                if type(outcome) is Cursor:
                    batch.cursors.append(self._position(outcome))
                is_old = time.perf_counter() - began >= COMMIT_S
                if covered >= self.source.settings.batch or is_old or type(outcome) is Flush:
                    began = self._store(batch, began)
                    batch, covered = Batch(), 0
                    if self.loop.stopping or self._left is not None or self._held_back():
                        return True  # what was polled but not covered by a cursor comes again
        except Unavailable:
            self._store(batch, began)
            raise
        _take(batch, uncovered)
        self._store(batch, began)
        return brought or bool(uncovered)

    def _position(self, cursor: Cursor) -> Position:
        """Return what is to be stored; the position must still be the one that this worker stored last."""
        # of a lease its fencing token proves that nobody else has stored one
        expected = self._stored.get(cursor.name, "") if cursor.lease is None else None
        return Position(cursor.name, expected, cursor.value, cursor.lease)

    def _store(self, batch: Batch, began: float) -> float:
        """Commit, and remember the positions. Returns the time from which the next work counts."""
        if batch.sent:
            batch.count("in", batch.sent)
            batch.count("out", batch.sent)
        now = time.perf_counter()
        done = self.loop.commit(batch, now - began, partial(self.queue.commit, batch, prefix=False))
        self.loop.handled += batch.sent
        self._stored |= {each.name: each.value or "" for each in batch.cursors if each.lease is None}
        if done is not None:
            self._left = self.loop.committed(self.source.committed)
        return now

    def _held_back(self) -> bool:
        full = self.loop.call(self.queue.room)
        if full:
            self.loop.hold_back(full)
            self.loop.sleep(FULL_S)
        else:
            self.loop.outages.end("full")
        return bool(full)


def _take(batch: Batch, outcomes: Iterable[object]) -> None:
    """Add to a batch what a source brought. Raises TypeError for something that is no outcome."""
    for outcome in outcomes:
        if type(outcome) is Send:
            batch.send(outcome)
        elif type(outcome) is Drop:
            batch.count(f"dropped:{outcome.reason}")
            batch.count("in")
        else:
            raise TypeError(f"a source yields Send, Drop, Cursor or Flush, not {type(outcome).__name__}")
