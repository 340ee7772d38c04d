"""Take the messages of one queue and hand them to the stage one after the other, in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

from aggregator.errors import ConfigError, CursorMoved, MemoryChanged, Superseded, Unavailable
from aggregator.runtime.batch import Batch, Position
from aggregator.runtime.contract import Cursor, Failed, Stage
from aggregator.runtime.handling import Handler
from aggregator.runtime.loop import FULL_S, Loop
from aggregator.runtime.memory import Memory
from aggregator.runtime.message import Message
from aggregator.runtime.queue import Claim

_T = TypeVar("_T")
BLOCK_S = 1.0
"""How long one blocking wait lasts. It is well below the client's socket timeout, and is part of the time until a
sibling claims messages that came back."""
GRAIN_S = 0.15
"""Redis ends a blocking wait up to a tenth of a second late, so the last bit before a delayed message is slept."""
SET_BACK_S = 10.0
"""How far the clock may go back before the worker starts anew."""
COMMIT_S = 1.0
"""Finished work is committed at least this often, so that results do not wait for the slow rest of their batch."""


class SerialIntake:
    """Claim a batch, handle it in order, commit it; the next batch is claimed in the same step."""

    def __init__(self, loop: Loop, stage: Stage, memory: Memory) -> None:
        self.loop = loop
        self.queue = loop.queue
        self.context = loop.context
        self.stage = stage
        self.memory = memory
        self.handler = Handler(stage, loop.context, loop.queue.identity.name, memory)
        self.paused_until = 0.0
        self._next: Claim | None = None
        self._ahead_s = float("-inf")
        self.trial = False
        """True after a pause: one message is taken alone, to see whether the service that was away is back."""
        self._failing_since = 0.0
        """When messages began to fail without a success in between, in Unix seconds; 0 when none failed."""
        self._away = False
        """True from the moment the stage could not go on until what was done before is committed."""
        self._idle_failed = False
        """True when the stage could not do what is due without a message, until it could."""
        self._is_left = False
        """True when what may only happen after a commit failed, and is still to be done."""

    def begin(self) -> None:
        """Send the messages that the stage wants under way, unless another process of the section was quicker."""
        feeds_itself = self.stage.traits.feeds_itself
        self.context.waiting_timers = self.loop.call(self.queue.waiting_timers) if feeds_itself else None
        while not self._seeded():
            self.context.cursors = self.loop.call(self.queue.cursors)
        self.context.waiting_timers = None

    def _seeded(self) -> bool:
        """Send the messages that the stage wants under way. Returns False when another process was quicker."""
        batch = Batch()
        for outcome in self.stage.seed():
            if isinstance(outcome, Cursor):
                if outcome.lease is not None:
                    raise TypeError("only a source's cursors belong to a lease")
                expected = self.context.cursors.get(outcome.name, "")
                batch.cursors.append(Position(outcome.name, expected, outcome.value))
            else:
                batch.send(outcome)
        try:
            self.loop.commit(batch, 0.0, partial(self.queue.commit, batch, prefix=True))
        except CursorMoved:
            return False
        return True

    def turn(self) -> None:
        """Take messages and handle them, or wait."""
        self._watch_clock()
        claim, self._next = self._next, None
        if claim is not None and not self._may_go_on():
            self._return(claim.messages)
            return
        if claim is None:
            if not self._open():
                return
            claim = self._claim(known=0, want=1 if self.trial else self.stage.settings.batch)
        if claim.messages:
            self.loop.show("busy")
            try:
                self._next = self._handle(claim.messages)
            except MemoryChanged as error:
                self._begin_anew(error)
        elif not claim.full:
            self._rest(claim)

    def finish(self) -> None:
        """Do nothing: messages that were claimed ahead go back to the queue when the worker leaves."""

    def _rest(self, claim: Claim) -> None:
        """Let the stage do work that is due without a message; wait for messages unless it sent some."""
        self.loop.show("idle")
        if self._is_left:
            if not self._after_commit():
                return
            self._goes_on()
        batch = Batch()
        try:
            self._settle_into(batch, lambda: self.stage.idle(self.context.clock()))
        except Unavailable as error:
            self._idle_failed = True
            self._pause(error)
            return
        if self._idle_failed:
            self._idle_failed = False
            self._goes_on()
        done = self._commit(batch, 0.0, partial(self.queue.commit, batch, prefix=True))
        if done is None or not batch.sent:
            self._wait(claim)

    def _goes_on(self) -> None:
        """End the outage of a stage that can go on without having handled a message, unless messages fail as well."""
        self._away = False
        if not self._failing_since:
            self.loop.outages.end("away")

    def _watch_clock(self) -> None:
        """End, to start anew, when the clock was set back: the stage's timers would rest until it has caught up."""
        ahead_s = self.context.clock() - time.monotonic()
        if self.stage.traits.feeds_itself and ahead_s < self._ahead_s - SET_BACK_S:
            raise Superseded(f"the clock was set back by {self._ahead_s - ahead_s:.0f} s: starting anew")
        self._ahead_s = max(self._ahead_s, ahead_s)

    def _may_go_on(self) -> bool:
        return time.monotonic() >= self.paused_until

    def _return(self, messages: Iterable[Message]) -> None:
        """Return messages to their queue untried."""
        batch = Batch()
        for message in messages:
            batch.put_back(message)
        self.loop.commit(batch, 0.0, partial(self.queue.commit, batch, prefix=True))

    def _open(self) -> bool:
        """Return True unless the stage is pausing; sleep a little when it is."""
        left_s = self.paused_until - time.monotonic()
        if left_s > 0:
            self.loop.sleep(min(left_s, BLOCK_S))
        return left_s <= 0

    def _claim(self, known: int, want: int) -> Claim:
        claim = self.loop.call(lambda: self.queue.claim(known, want))
        if claim.full and not claim.messages:
            self.loop.hold_back(claim.full)
            if not known:
                self.loop.sleep(FULL_S)
        else:
            self.loop.outages.end("full")
        return claim

    def _wait(self, claim: Claim) -> None:
        if self.loop.ends_empty(claim.due_s):
            return
        wait_s = BLOCK_S if claim.due_s is None else min(BLOCK_S, claim.due_s - GRAIN_S)
        if wait_s <= 0:
            self.loop.sleep(claim.due_s or 0.0)
            return
        self.loop.interruptibly(lambda: self.loop.call(lambda: self.queue.wait(wait_s)))

    def _pause(self, error: Unavailable) -> None:
        """Take no message for a while; the process stays alive, and holds no message meanwhile."""
        self._away = True
        if self.loop.stopping or self.loop.ends_stuck(str(error)):
            return
        self.paused_until, self.trial = time.monotonic() + error.pause_s, True
        self.loop.show("paused", str(error))
        self.loop.outages.fail("away", str(error), since=self._failing_since)
        self.loop.log.warning("pause pause_s=%.1f reason=%s", error.pause_s, error)

    def _handle(self, messages: list[Message]) -> Claim | None:
        """Handle a batch and commit it. Returns the claim made in the same step; None when it pauses or ends."""
        began = time.perf_counter()
        self._fetch(messages)
        batch, waiting = Batch(), iter(messages)
        run, settle = self.handler.run, self.handler.settle
        for message in waiting:
            away = settle(batch, message, run(message))
            now = time.perf_counter()
            if away or self.loop.stopping:
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
                if not self._may_go_on():
                    self._return(messages)
                    return None
                self._fetch(messages)
                began, batch = now, Batch()
        return self._finish(batch, began, partial(self.queue.turn, batch, self.stage.settings.batch))

    def _fetch(self, messages: list[Message]) -> None:
        if self.handler.has_needs:
            self.loop.call(lambda: self.handler.fetch(messages))

    def _begin_anew(self, error: MemoryChanged) -> None:
        """Return all that is held, untried: another worker changed a remembered text that these messages change too.

        Raises Superseded for a stage with a `settle` of its own, which may have made effects durable that were not
        committed: its next start takes them back.
        """
        self.memory.forget()
        self.loop.log.warning("begin_anew reason=%s", error)
        self.context.count("memory_changed")
        self._return(self.loop.call(self.queue.held))
        if type(self.stage).settle is not Stage.settle:
            raise Superseded(str(error))

    def _finish(self, batch: Batch, began: float, commit: Callable[[], _T]) -> _T | None:
        """Make effects durable, then commit. When the worker is told to stop before they are, nothing is committed."""
        if not batch.entries or not self._settled_or_stopped(
            lambda: self._settle_into(batch, lambda: self.stage.settle(self.context.clock()))
        ):
            return None
        if len(batch.back) < len(batch.entries):
            self.trial = False
        # order: effects durable, then commit
        result = self._commit(batch, time.perf_counter() - began, commit)
        self._learn(batch)
        return result

    def _settle_into(self, batch: Batch, outcomes: Callable[[], Any]) -> None:
        """Take along what the stage yields by itself, all of it or, when it cannot go on, nothing."""
        found = outcomes()
        if isinstance(found, Mapping):
            # an end without a restart, because each restart would count as a try of the messages in hand
            words = "returned a mapping, as before there were outcomes: `yield Cursor(name, value)` for each position"
            raise ConfigError(f"[{self.context.section}] stage: settle or idle {words}")
        settled = list(found)
        failed = [outcome for outcome in settled if type(outcome) is Failed]
        others = [outcome for outcome in settled if type(outcome) is not Failed] if failed else settled
        if remembered := batch.settled(others):
            batch.changes |= self.memory.change(remembered)
        for each in failed:
            batch.take_back(each.message)
            self.handler.settle(batch, each.message, each.error)

    def _commit(self, batch: Batch, busy_s: float, commit: Callable[[], _T]) -> _T | None:
        """Commit, then call the stage's `committed`. Returns None when there was nothing to commit."""
        result = self.loop.commit(batch, busy_s, commit)
        self.memory.forget()
        self.loop.handled += len(batch.entries) - len(batch.back)
        if result is not None:
            # order: commit, then remove
            self._after_commit()
        return result

    def _after_commit(self) -> bool:
        error = self.loop.committed(self.stage.committed)
        self._is_left = error is not None
        if error is not None:
            self._pause(error)
        return error is None

    def _learn(self, batch: Batch) -> None:
        """Learn from a committed batch whether the stage's services work; successes before a failure prove nothing."""
        if batch.done and not self._away:
            self._failing_since = 0.0
            self.loop.outages.end("away", "vanished")
        elif batch.retries and not self._failing_since:
            self._failing_since = self.context.clock()
        self._away = False

    def _settled_or_stopped(self, do: Callable[[], Any]) -> bool:
        """Repeat a call of the stage until it succeeds; when stopping, try it once to finish the batch in hand."""
        if not self.loop.stopping:
            return self.loop.settled(do) or self._settled_or_stopped(do)
        try:
            do()
            return True
        except Unavailable as error:
            self.loop.log.warning("unavailable reason=%s: the messages in hand go back", error)
            return False
