"""The process: signals, loop, states, and what to do while Redis is away.

A message's way: `Worker.run → Queue.claim → Stage.handle → outcomes → Queue.commit`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

import msgspec

from aggregator import __version__
from aggregator.errors import EXIT_AWAY, EXIT_OK, Superseded, Unavailable
from aggregator.runtime.batch import Batch
from aggregator.runtime.connection import AWAY, REFUSED, is_full, refusal
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Source, Stage
from aggregator.runtime.heartbeat import Heartbeat
from aggregator.runtime.keys import resolve
from aggregator.runtime.message import ascii_text
from aggregator.runtime.neighbours import refuse_another, write_root
from aggregator.runtime.outages import REMEMBERED_S, Outages, read_outages
from aggregator.runtime.queue import Queue
from aggregator.runtime.reports import Reporting, read_reports
from aggregator.runtime.statenote import note_state, read_note
from aggregator.runtime.succession import StillRuns, Succession

BLOCK_S = 1.0
"""How long one blocking wait lasts; well below the client's socket timeout, and part of how soon a sibling helps."""
FULL_S = 0.2
"""How often to look whether a full target has room again."""
SUMMARY_S = 60.0
STILL_S = 0.5
"""How often to look whether the section whose place this one has has ended."""
SWEEP_S = 5.0
"""How often to look for messages in the queues that the section read before."""
_T = TypeVar("_T")


class Interrupted(BaseException):
    """A signal came while the worker waited."""


class RedisAway(Exception):
    """Redis was away for longer than the worker may wait."""


class Worker:
    """What consumers and sources have in common; `turn` is one round of work.

    `patience_s` is how long Redis may be away before the process gives up with exit code 75.
    """

    def __init__(self, queue: Queue, stage: Stage | Source, context: Context, *, patience_s: float = 600.0) -> None:
        self.queue = queue
        self.component = stage
        self.context = context
        self.patience_s = patience_s
        self.log = context.log
        self.stopping = False
        self.superseded = False
        self.state, self.reason, self.since = "starting", "", context.clock()
        self.outages = Outages(context.clock)
        self.reporting = Reporting(queue.client, queue.keys, queue.identity.owner)
        self.handled = 0
        self.belongings = type(stage).belongings(stage.settings, context.root)
        self.succession = Succession(queue, context, stage)
        self._sweep_at = 0.0
        self._may_interrupt = False
        self._summary_at = time.monotonic() + SUMMARY_S
        self._summary_from = 0

    def turn(self) -> None:
        """Do one round: take what there is, or wait a little."""
        raise NotImplementedError

    def run(self) -> int:
        """Work until told to stop. Returns the exit code. Raises ConfigError when another instance has our name."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        heartbeat = Heartbeat(self.queue, self._tell, self._on_lost, self.log.warning)
        try:
            self._recall(self._call(self.queue.facts))
            # order: what is noted, then the start, which makes a newer token
            noted = read_note(self.context)
            back = self._begin()
            self.context.state_id = self.queue.state_id
            if self.context.instance_id:
                note_state(self.context, noted, self.queue.newest_before, self.queue.token)
            heartbeat.start()
            if not self._succeeded():
                return self._end(heartbeat, EXIT_OK)
            self.context.cursors = self._call(self.queue.cursors)
            self.log.info("start worker=%s pid=%d returned=%d", self.queue.identity.name, os.getpid(), back)
            if self._settled(self.component.start):
                self._loop()
                self.component.stop()
            return self._end(heartbeat, EXIT_AWAY if self.superseded else EXIT_OK)
        except Superseded as error:
            self.log.warning("superseded reason=%s", error)
            self.superseded = True
            return self._end(heartbeat, EXIT_AWAY)
        except RedisAway as error:
            self.log.error("redis_away reason=%s", error)
            return EXIT_AWAY
        except Interrupted:
            return self._end(heartbeat, EXIT_OK)

    def _begin(self) -> int:
        """Start this incarnation. Returns how many messages earlier ones left."""
        shared, superseded = self.context.shares_redis, ""
        if shared:
            superseded = self._call(self._refuse_another)
        instance = self.context.instance_id if shared else ""
        return self._call(lambda: self.queue.start(self._birth(), instance=instance, superseded=superseded))

    def _succeeded(self) -> bool:
        """Take over what belongs to the section. Returns False when told to stop before."""
        while not self.stopping:
            try:
                self._call(self.succession.begin)
                return True
            except StillRuns as error:
                if self.state != "waiting":
                    self.log.warning("waiting reason=%s", error)
                self._show("waiting", str(error))
                self._sleep(STILL_S)
        return False

    def _loop(self) -> None:
        while not self.stopping:
            try:
                self.turn()
                if time.monotonic() >= self._sweep_at:
                    self._sweep_at = time.monotonic() + SWEEP_S
                    self._call(self.succession.sweep)
            except Interrupted:
                continue
            self._summarise()

    def _end(self, heartbeat: Heartbeat, code: int) -> int:
        if heartbeat.is_alive():
            heartbeat.stop()
        if not self.superseded:
            try:
                self.reporting.store(self.context.reports)
                back = self.queue.leave()
                self.log.info("stop worker=%s handled=%d returned=%d", self.queue.identity.name, self.handled, back)
            except AWAY as error:
                self.log.warning("stop redis_away reason=%s: what is held comes back at the next start", error)
        return code

    # What the subclasses use

    def _settled(self, do: Callable[[], object]) -> bool:
        """Repeat something of the stage while it is Unavailable. Returns False when told to stop meanwhile."""
        while not self.stopping:
            try:
                do()
                return True
            except Unavailable as error:
                self._show("waiting", str(error))
                self.outages.fail("away", str(error))
                self.log.warning("unavailable pause_s=%.1f reason=%s", error.pause_s, error)
                self._sleep(error.pause_s)
        return False

    def _call(self, do: Callable[[], _T]) -> _T:
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
                    full = is_full(error)
                    reason = f"Redis is full, at its maxmemory: {error}" if full else f"Redis is away: {error}"
                    self._show("waiting", reason)
                    self.outages.fail("redis_full" if full else "redis", reason)
                    self.log.warning("redis_away reason=%s", error)
                if now - away_since > (5.0 if self.stopping else self.patience_s):
                    raise RedisAway(str(error)) from error
                time.sleep(delay_s)
                delay_s = min(delay_s * 2, 1.0)
            else:
                if away_since:
                    self.outages.end("redis", "redis_full")
                    self.log.info("redis_back after_s=%.1f", time.monotonic() - away_since)
                return result

    def _commit(self, batch: Batch, busy_s: float, commit: Callable[[], _T]) -> _T | None:
        """Make a batch take effect by `commit`, with the counters of the stage; an empty one needs nothing."""
        for name, by in self.context.take_counts().items():
            batch.count(f"count:{name}", by)
        batch.close()
        if not batch:
            return None
        batch.count("busy_us", int(busy_s * 1e6))
        if self.context.reports:
            # order: a loss is told of, then the step in which it is counted takes effect
            self._call(lambda: self.reporting.store(self.context.reports))
        result = self._call(commit)
        self.handled += self._handled_in(batch)
        return result

    def _handled_in(self, batch: Batch) -> int:
        """Return how many messages a batch is done with; what only begins, or goes back untried, is none."""
        return len(batch.entries) - len(batch.back)

    def _hold_back(self, queue: str) -> None:
        """Show that a target queue has no room."""
        reason = f"queue {queue} is full"
        self._show("held back", reason)
        self.outages.fail("full", reason, queue=resolve(queue, self.queue.identity.node))

    def _show(self, state: str, reason: str = "") -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason, self.since = state, reason, self.context.clock()

    def _sleep(self, seconds: float) -> None:
        self._interruptibly(lambda: time.sleep(seconds))

    def _interruptibly(self, do: Callable[[], object]) -> None:
        """Do something that waits; a signal ends it at once."""
        try:
            self._may_interrupt = True
            if not self.stopping:
                do()
        except Interrupted:
            return
        finally:
            self._may_interrupt = False

    # Signals and signs of life

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stopping = self.context.stopping = True
        if self._may_interrupt:
            self._may_interrupt = False
            raise Interrupted

    def _on_lost(self, reason: str, superseded: bool) -> None:
        self.log.warning("ending reason=%s", reason)
        self.superseded = self.superseded or superseded
        os.kill(os.getpid(), signal.SIGTERM)

    def _refuse_another(self) -> str:
        queue, context = self.queue, self.context
        return refuse_another(queue.client, queue.keys, queue.identity.node, context.root, context.instance_id)

    def _birth(self) -> dict[str, str | int]:
        identity = self.queue.identity
        return {
            "section": identity.section,
            "number": identity.number,
            "node": identity.node,
            "pid": os.getpid(),
            "version": __version__,
            "root": write_root(self.context.root),
            "instance": self.context.instance_id,
            "machine": self.context.machine,
            "built": self.context.built,
            "digest": self.context.digest,
            "belongings": msgspec.json.encode(self.belongings).decode(),
            "started": f"{self.context.clock():.3f}",
            **self._facts(),
        }

    def _recall(self, former: dict[str, str]) -> None:
        """Take over what the incarnation before this one said: a restart ends no outage."""
        seen_at = max(float(former.get(field, 0)) for field in ("beat_at", "started"))
        if self.context.clock() - seen_at < REMEMBERED_S:
            self.outages.recall(read_outages(former), 0.0 if former.get("state") == "stopped" else seen_at)
            since = {(told.code, told.about): told.since for told in read_reports(former)}
            self.context.recall(since, REMEMBERED_S)

    def _tell(self) -> dict[str, str | int]:
        """Return what goes with a sign of life; write first what is to outlive us."""
        self.reporting.store(self.context.reports)
        return self._facts()

    def _facts(self) -> dict[str, str | int]:
        facts: dict[str, str | int] = {
            "state": self.state,
            "reason": ascii_text(self.reason[:300]),
            "since": f"{self.since:.3f}",
            "handled": self.handled,
            "rss_kb": rss_kb(),
        }
        facts.update({f"note:{name}": ascii_text(text) for name, text in dict(self.context.notes).items()})
        return {**facts, **self.outages.fields(), **self.reporting.fields(self.context.reports)}

    def _summarise(self) -> None:
        now = time.monotonic()
        if now >= self._summary_at:
            rate = (self.handled - self._summary_from) / (now - self._summary_at + SUMMARY_S)
            self.log.info("summary handled=%d rate=%.1f/s state=%s", self.handled, rate, self.state)
            self._summary_at, self._summary_from = now + SUMMARY_S, self.handled


def rss_kb(pid: int | str = "self") -> int:
    """Return a process's resident memory; 0 where the system does not tell."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    except OSError:
        return 0
