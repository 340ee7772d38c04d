"""Keep several messages of a queue in flight, each in a thread of its own, and commit them as they are done."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

from aggregator.runtime.batch import Batch
from aggregator.runtime.contract import Stage
from aggregator.runtime.intake.serial import SerialIntake
from aggregator.runtime.loop import Loop
from aggregator.runtime.memory import Memory
from aggregator.runtime.message import Message

STATUS_S = 0.2
"""How often a worker with messages in flight looks whether it was told to stop."""


class ThreadedIntake(SerialIntake):
    """Claim while there are free threads, wait for some messages to be done, commit them."""

    def __init__(self, loop: Loop, stage: Stage, memory: Memory) -> None:
        super().__init__(loop, stage, memory)
        self.concurrency: int = stage.settings.concurrency
        self._pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="handle")
        self._in_flight: dict[Future[Any], Message] = {}
        self._alone = False

    def turn(self) -> None:
        """Fill the threads, wait for some messages to be done, commit them."""
        self._watch_clock()
        known = len(self._in_flight)
        claim = None
        if not self._alone and (known or self._open()) and time.monotonic() >= self.paused_until:
            # Claim twice as many messages as threads, so that no thread idles while results are committed.
            most = 1 if self.trial else 2 * self.concurrency
            if known < most:
                claim = self._claim(known, most - known)
                self._alone = claim.alone
                for message in claim.messages:
                    self._in_flight[self._pool.submit(self.handler.run, message)] = message
        if self._in_flight:
            patience_s = STATUS_S
            if claim is None or not claim.full:
                self.loop.show("busy")
                # due_s is 0: something is due that was not handed out for a reason, which only time or a commit ends
                if claim is not None and claim.due_s:
                    patience_s = min(claim.due_s, STATUS_S)
            self._collect(patience_s)
        elif claim is not None and not claim.full:
            self._rest(claim)

    def finish(self) -> None:
        """Return messages that no thread has begun, so that the process ends after one round of messages at most."""
        try:
            self._give_back()
            while self._in_flight:
                self._collect()
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _give_back(self) -> None:
        batch = Batch()
        for future in [future for future in self._in_flight if future.cancel()]:
            batch.put_back(self._in_flight.pop(future))
        self._finish(batch, time.perf_counter(), partial(self.queue.commit, batch, prefix=False))

    def _collect(self, patience_s: float = STATUS_S) -> None:
        """Commit the messages that are done within `patience_s`, which ends when a delayed message is due."""
        began = time.perf_counter()
        done, _ = wait(self._in_flight, timeout=patience_s, return_when=FIRST_COMPLETED)
        batch = Batch()
        for future in done:
            away = self.handler.settle(batch, self._in_flight.pop(future), future.result())
            if away:
                self._pause(away)
        if not self._in_flight:
            self._alone = False
        self._finish(batch, began, partial(self.queue.commit, batch, prefix=False))
