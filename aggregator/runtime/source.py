"""The worker of a source: poll, send, store the position."""

from __future__ import annotations

import time
from functools import partial

from aggregator.runtime.batch import Batch
from aggregator.runtime.queue import Queue
from aggregator.runtime.stage import Context, Cursor, Drop, Send, Source
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
        began, brought = time.perf_counter(), 0
        batch = Batch()
        for outcome in self.source.poll(self.context.clock()):
            kind = type(outcome)
            if kind is Send:
                batch.send(outcome)  # type: ignore[arg-type]
                brought += 1
            elif kind is Cursor:
                batch.cursors.append((outcome.name, self._stored.get(outcome.name, ""), outcome.value))  # type: ignore[union-attr]
                if batch.sent >= self.source.settings.batch:
                    began = self._store(batch, began)
                    batch = Batch()
                    if self.stopping or self._held_back():
                        break  # what was polled but not covered by a cursor comes again
            elif kind is Drop:
                batch.count(f"dropped:{outcome.reason}")  # type: ignore[union-attr]
                batch.count("in")
                brought += 1
            else:
                raise TypeError(f"a source yields Send, Drop or Cursor, not {kind.__name__}")
        self._store(batch, began)
        if brought:
            self._show("busy")
        else:
            self._show("idle")
            self._sleep(self.source.settings.idletime)

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

    def _held_back(self) -> bool:
        full = self._call(self.queue.room)
        if full:
            self._show("held back", f"queue {full} is full")
            self._sleep(FULL_S)
        return bool(full)
