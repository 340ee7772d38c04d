"""The worker of a stage that reads a queue: one message after the other, in order."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from aggregator.errors import CursorMoved, Superseded, Unavailable
from aggregator.runtime.batch import Batch
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Cursor, Stage
from aggregator.runtime.handling import Handler
from aggregator.runtime.message import Message
from aggregator.runtime.queue import Claim, Queue
from aggregator.runtime.worker import BLOCK_S, FULL_S, Worker

_T = TypeVar("_T")
GRAIN_S = 0.15
"""Redis ends a blocking wait up to a tenth of a second late, so the last bit before a delayed message is slept."""
SET_BACK_S = 10.0
"""By how much the clock may go back without anything being made of it."""
COMMIT_S = 1.0
"""Work done is committed at least this often: results do not wait for the slow rest of their batch."""


class ConsumerWorker(Worker):
    """Take messages of one queue and hand them to the stage, in order."""

    def __init__(self, queue: Queue, stage: Stage, context: Context, *, patience_s: float = 600.0) -> None:
        super().__init__(queue, stage, context, patience_s=patience_s)
        self.stage = stage
        self.handler = Handler(stage, context, queue.identity.name)
        self.paused_until = 0.0
        self._next: Claim | None = None
        self._ahead_s = float("-inf")
        self.trial = False
        """True after a pause: take one message alone to see whether what was away is back."""
        self._failing_since = 0.0
        """When messages began to fail without one that succeeded, Unix seconds; 0 when none did."""
        self._away = False
        """True from the moment the stage could not go on until what was done before is committed."""

    def _loop(self) -> None:
        while not self._seeded():
            self.context.cursors = self._call(self.queue.cursors)
        super()._loop()

    def _seeded(self) -> bool:
        """Send what the stage wants under way. Returns False when another process was quicker."""
        batch = Batch()
        for outcome in self.stage.seed():
            if isinstance(outcome, Cursor):
                expected = self.context.cursors.get(outcome.name, "")
                batch.cursors.append((outcome.name, expected, outcome.value))
            else:
                batch.send(outcome)
        try:
            self._commit(batch, 0.0, partial(self.queue.commit, batch, prefix=True))
        except CursorMoved:
            return False
        return True

    def turn(self) -> None:
        """Take what there is and handle it, or wait."""
        self._watch_clock()
        claim, self._next = self._next, None
        if claim is None:
            if not self._open():
                return
            claim = self._claim(known=0, want=1 if self.trial else self.stage.settings.batch)
        if claim.messages:
            self._show("busy")
            self._next = self._handle(claim.messages)
        elif not claim.full:
            self._rest(claim)

    def _rest(self, claim: Claim) -> None:
        """Let the stage look for work that no message tells of; wait for messages when there is none."""
        self._show("idle")
        batch = Batch()
        try:
            for outcome in self.stage.idle(self.context.clock()):
                if isinstance(outcome, Cursor):
                    batch.cursors.append((outcome.name, None, outcome.value))
                else:
                    batch.send(outcome)
        except Unavailable as error:
            self._pause(error)
            return
        if self._commit(batch, 0.0, partial(self.queue.commit, batch, prefix=True)) is None or not batch.sent:
            self._wait(claim)

    def _watch_clock(self) -> None:
        """Start anew when the clock was set back: its timers would rest until the clock has caught up."""
        ahead_s = self.context.clock() - time.monotonic()
        if self.stage.traits.feeds_itself and ahead_s < self._ahead_s - SET_BACK_S:
            raise Superseded(f"the clock was set back by {self._ahead_s - ahead_s:.0f} s: starting anew")
        self._ahead_s = max(self._ahead_s, ahead_s)

    def _open(self) -> bool:
        """Return True unless the stage is pausing; sleep a little when it is."""
        left_s = self.paused_until - time.monotonic()
        if left_s > 0:
            self._sleep(min(left_s, BLOCK_S))
        return left_s <= 0

    def _claim(self, known: int, want: int) -> Claim:
        claim = self._call(lambda: self.queue.claim(known, want))
        if claim.full and not claim.messages:
            self._hold_back(claim.full)
            if not known:
                self._sleep(FULL_S)
        else:
            self.outages.end("full")
        return claim

    def _wait(self, claim: Claim) -> None:
        wait_s = BLOCK_S if claim.due_s is None else min(BLOCK_S, claim.due_s - GRAIN_S)
        if wait_s <= 0:
            self._sleep(claim.due_s or 0.0)
            return
        self._interruptibly(lambda: self._call(lambda: self.queue.wait(wait_s)))

    def _pause(self, error: Unavailable) -> None:
        """Take no message for a while; the process stays, and holds none meanwhile."""
        self._away = True
        if self.stopping:
            return
        self.paused_until, self.trial = time.monotonic() + error.pause_s, True
        self._show("paused", str(error))
        self.outages.fail("away", str(error), since=self._failing_since)
        self.log.warning("pause pause_s=%.1f reason=%s", error.pause_s, error)

    def _handle(self, messages: list[Message]) -> Claim | None:
        """Handle a batch and commit it. Returns the next one, claimed in the same step, unless the worker pauses."""
        began = time.perf_counter()
        batch, waiting = Batch(), iter(messages)
        run, settle = self.handler.run, self.handler.settle
        for message in waiting:
            away = settle(batch, message, run(message))
            now = time.perf_counter()
            if away or self.stopping:
                for untried in waiting:
                    batch.put_back(untried)
                if away:
                    self._pause(away)
                self._finish(batch, began, partial(self.queue.commit, batch, prefix=True))
                return None
            if now - began > COMMIT_S and len(batch.entries) < len(messages):
                if not self._finish(batch, began, partial(self.queue.commit, batch, prefix=True)):
                    return None
                messages = messages[len(batch.entries) :]
                began, batch = now, Batch()
        return self._finish(batch, began, partial(self.queue.turn, batch, self.stage.settings.batch))

    def _finish(self, batch: Batch, began: float, commit: Callable[[], _T]) -> _T | None:
        """Make effects durable, then commit. When told to stop before they are, nothing happened."""
        cursors: list[tuple[str, str | None, str | None]] = []
        if not batch.entries or not self._settled_or_stopped(
            lambda: cursors.extend((name, None, value) for name, value in self.stage.settle().items())
        ):
            return None
        batch.cursors = cursors
        if len(batch.back) < len(batch.entries):
            self.trial = False
        # order: effects durable, then commit
        result = self._commit(batch, time.perf_counter() - began, commit)
        self._learn(batch)
        return result

    def _learn(self, batch: Batch) -> None:
        """See what a committed batch says of the neighbours: what was done before one failed proves nothing."""
        if batch.done and not self._away:
            self._failing_since = 0.0
            self.outages.end("away", "vanished")
        elif batch.retries and not self._failing_since:
            self._failing_since = self.context.clock()
        self._away = False

    def _settled_or_stopped(self, do: Callable[[], Any]) -> bool:
        """Try once even when stopping: a batch in hand is finished if it can be."""
        if not self.stopping:
            return self._settled(do) or self._settled_or_stopped(do)
        try:
            do()
            return True
        except Unavailable as error:
            self.log.warning("unavailable reason=%s: the messages in hand go back", error)
            return False
