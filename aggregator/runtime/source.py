"""The worker of a source: poll, send, store the position."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial

from aggregator.errors import Unavailable
from aggregator.runtime.batch import Batch
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Cursor, Drop, Send, Source
from aggregator.runtime.queue import Queue
from aggregator.runtime.worker import FULL_S, Worker


class SourceWorker(Worker):
    """Commit what a source yields, at its cursors, while its targets have room."""

    def __init__(self, queue: Queue, source: Source, context: Context, *, patience_s: float = 600.0) -> None:
        super().__init__(queue, source, context, patience_s=patience_s)
        self.source = source
        self._stored: dict[str, str] = {}

    def turn(self) -> None:
        """Poll once, or wait for room."""
        if not self._stored:
            self._stored = dict(self.context.cursors)
        if self._held_back():
            return
        try:
            brought = self._poll()
        except Unavailable as error:
            self._show("waiting", str(error))
            self.outages.fail("away", str(error))
            self.log.warning("unavailable pause_s=%.1f reason=%s", error.pause_s, error)
            self._sleep(error.pause_s)
            return
        self.outages.end("away", "vanished")
        if brought:
            self._show("busy")
        else:
            self._show("idle")
            self._sleep(self.source.settings.idletime)

    def _poll(self) -> bool:
        """Commit what a poll yields. Returns False when that was nothing."""
        began, brought = time.perf_counter(), False
        batch = Batch()
        uncovered: list[object] = []
        try:
            for outcome in self.source.poll(self.context.clock()):
                if type(outcome) is not Cursor:
                    uncovered.append(outcome)
                    continue
                brought = brought or bool(uncovered)
                _take(batch, uncovered)
                uncovered.clear()
                batch.cursors.append((outcome.name, self._stored.get(outcome.name, ""), outcome.value))
                if batch.sent >= self.source.settings.batch:
                    began = self._store(batch, began)
                    batch = Batch()
                    if self.stopping or self._held_back():
                        return True  # what was polled but not covered by a cursor comes again
        except Unavailable:
            self._store(batch, began)
            raise
        _take(batch, uncovered)
        self._store(batch, began)
        return brought or bool(uncovered)

    def _store(self, batch: Batch, began: float) -> float:
        """Commit, and remember the positions. Returns the time from which the next work counts."""
        if batch.sent:
            batch.count("in", batch.sent)
            batch.count("out", batch.sent)
        now = time.perf_counter()
        self._commit(batch, now - began, partial(self.queue.commit, batch, prefix=False))
        for name, _, value in batch.cursors:
            self._stored[name] = value or ""
        return now

    def _handled_in(self, batch: Batch) -> int:
        return batch.sent

    def _held_back(self) -> bool:
        full = self._call(self.queue.room)
        if full:
            self._hold_back(full)
            self._sleep(FULL_S)
        else:
            self.outages.end("full")
        return bool(full)


def _take(batch: Batch, outcomes: Iterable[object]) -> None:
    """Take along what a source brought. Raises TypeError for something that is no outcome."""
    for outcome in outcomes:
        if type(outcome) is Send:
            batch.send(outcome)
        elif type(outcome) is Drop:
            batch.count(f"dropped:{outcome.reason}")
            batch.count("in")
        else:
            raise TypeError(f"a source yields Send, Drop or Cursor, not {type(outcome).__name__}")
