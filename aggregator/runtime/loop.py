"""The loop around a worker's intake: calls that outlast Redis's absence, commits, waits that a signal ends.

The loop also notes what the worker does now, for `status`, and what keeps it from its work, for `health`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from aggregator.errors import Unavailable
from aggregator.runtime.batch import Batch
from aggregator.runtime.connection import AWAY, REFUSED, is_full, refusal
from aggregator.runtime.context import Context
from aggregator.runtime.ending import Ending
from aggregator.runtime.keys import resolve
from aggregator.runtime.outages import Outages
from aggregator.runtime.queue import Queue
from aggregator.runtime.reports import Reporting

FULL_S = 0.2
"""How often to look whether a full target has room again."""
STOPPING_S = 5.0
"""How long a worker that is to end waits for Redis."""
_T = TypeVar("_T")


class Interrupted(BaseException):
    """A signal came while the worker waited."""


class RedisAway(Exception):
    """Redis was away for longer than the worker may wait."""


class Loop:
    """The state of one worker, and the calls that its intake uses. `patience_s` is how long Redis may be away."""

    def __init__(self, queue: Queue, context: Context, ending: Ending, patience_s: float) -> None:
        self.queue = queue
        self.context = context
        self.ending = ending
        self.patience_s = patience_s
        self.log = context.log
        self.stopping = False
        self.state, self.reason, self.since = "starting", "", context.clock()
        self.outages = Outages(context.clock)
        self.reporting = Reporting(queue.client, queue.keys, queue.identity.owner)
        self.handled = 0
        self._may_interrupt = False
        context.interruptibly = self.interruptibly

    # Calls and commits

    def call(self, do: Callable[[], _T]) -> _T:
        """Repeat a call until Redis has answered it; all our calls are harmless when repeated."""
        away_since, delay_s = 0.0, 0.05
        while True:
            try:
                result = do()
            except REFUSED as error:
                raise refusal(error) from error
            except AWAY as error:
                now = time.monotonic()
                if not away_since:
                    away_since = now
                    self._show_away(error)
                if now - away_since > (STOPPING_S if self.stopping else self.patience_s):
                    raise RedisAway(str(error)) from error
                time.sleep(delay_s)
                delay_s = min(delay_s * 2, 1.0)
            else:
                if away_since:
                    self.outages.end("redis", "redis_full")
                    self.log.info("redis_back after_s=%.1f", time.monotonic() - away_since)
                return result

    def _show_away(self, error: Exception) -> None:
        full = is_full(error)
        reason = f"Redis is full, at its maxmemory: {error}" if full else f"Redis is away: {error}"
        self.show("waiting", reason)
        self.outages.fail("redis_full" if full else "redis", reason)
        self.log.warning("redis_away reason=%s", error)

    def commit(self, batch: Batch, busy_s: float, commit: Callable[[], _T]) -> _T | None:
        """Add the counters of the stage to a batch, and make it take effect by `commit`, unless it is empty."""
        for name, by in self.context.take_counts().items():
            batch.count(f"count:{name}", by)
        batch.close()
        if not batch:
            return None
        batch.count("busy_us", int(busy_s * 1e6))
        if self.context.reports:
            # order: store the report of a loss, then commit the step that counts the loss
            self.call(lambda: self.reporting.store(self.context.reports))
        return self.call(commit)

    def settled(self, do: Callable[[], object]) -> bool:
        """Repeat a call of the stage while it raises Unavailable. Returns False when the worker is to end meanwhile."""
        while not self.stopping:
            try:
                do()
                return True
            except Unavailable as error:
                self.unavailable(error)
        return False

    def unavailable(self, error: Unavailable) -> None:
        """Wait for the pause that an Unavailable asks for, unless the worker ends because of it."""
        if self.ends_stuck(str(error)):
            return
        self.show("waiting", str(error))
        self.outages.fail("away", str(error))
        self.log.warning("unavailable pause_s=%.1f reason=%s", error.pause_s, error)
        self.sleep(error.pause_s)

    def committed(self, do: Callable[[], object]) -> Unavailable | None:
        """Call what may only happen after a commit. Returns the error when it failed: it belongs to no message."""
        try:
            do()
            return None
        except Unavailable as error:
            return error
        except Exception as error:
            self.context.count("committed_failed")
            self.log.exception("committed_failed")
            return Unavailable(f"after a commit: {type(error).__name__}: {error}")

    # What is shown

    def show(self, state: str, reason: str = "") -> None:
        """Note what the worker does now."""
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason, self.since = state, reason, self.context.clock()

    def hold_back(self, queue: str) -> None:
        """Show that a target queue has no room; the worker may end because of that."""
        reason = f"queue {queue} is full"
        self.show("held back", reason)
        self.outages.fail("full", reason, queue=resolve(queue, self.queue.identity.node))
        self.ends_stuck(reason)

    # The end

    def stop(self) -> None:
        """Let the worker end after its current work."""
        self.stopping = self.context.stopping = True

    def ends_stuck(self, reason: str) -> bool:
        """Stop if the worker's `ending` tells a worker that cannot go on to end. Returns whether it stops."""
        if self.ending.when_stuck(reason):
            self.stop()
        return self.stopping

    def ends_empty(self, due_s: float | None) -> bool:
        """Stop if the worker's `ending` tells a worker with nothing to take to end. Returns whether it stops."""
        if self.ending.when_empty(due_s):
            self.stop()
        return self.stopping

    # Waits

    def sleep(self, seconds: float) -> None:
        """Wait; a signal ends it at once."""
        self.interruptibly(lambda: time.sleep(seconds))

    def interruptibly(self, do: Callable[[], object]) -> None:
        """Call a function that waits; a signal ends the wait at once."""
        try:
            self._may_interrupt = True
            if not self.stopping:
                do()
        except Interrupted:
            return
        finally:
            self._may_interrupt = False

    def on_signal(self) -> None:
        """Note a signal that asks for the end. Raises Interrupted in a wait."""
        self.stop()
        if self._may_interrupt:
            self._may_interrupt = False
            raise Interrupted
