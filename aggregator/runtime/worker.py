"""One worker process: it takes over state, works until it is told to end, and leaves.

A message's way: `Worker.run → Queue.claim → Stage.handle → outcomes → Queue.commit`.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

import msgspec

from aggregator import __version__
from aggregator.errors import EXIT_AWAY, EXIT_OK, Superseded, Unavailable
from aggregator.runtime.connection import AWAY
from aggregator.runtime.contract import Source, Stage
from aggregator.runtime.heartbeat import Heartbeat
from aggregator.runtime.intake import Intake
from aggregator.runtime.lease import Leases
from aggregator.runtime.loop import Interrupted, Loop, RedisAway
from aggregator.runtime.memory import Memory
from aggregator.runtime.message import ascii_text
from aggregator.runtime.neighbours import refuse_another, write_root
from aggregator.runtime.outages import REMEMBERED_S, read_outages
from aggregator.runtime.reports import read_reports
from aggregator.runtime.statenote import note_state, read_note
from aggregator.runtime.succession import StillRuns, Succession

SUMMARY_S = 60.0
STILL_S = 0.5
"""How often to look whether workers have ended that still have state of this section."""
SWEEP_S = 5.0
"""How often to look for messages in the queues that the section read before."""


class Worker:
    """One process of a section: a stage, the intake that brings its work, and the loop around both."""

    def __init__(self, loop: Loop, component: Stage | Source, intake: Intake, memory: Memory) -> None:
        self.loop = loop
        self.queue = loop.queue
        self.context = loop.context
        self.component = component
        self.intake = intake
        self.log = loop.log
        self.superseded = False
        self.belongings = type(component).belongings(component.settings, loop.context.root)
        self.succession = Succession(loop.queue, loop.context, component)
        self.leases = Leases(loop.queue.client, loop.queue.keys, loop.queue.identity.name)
        loop.context.attach(memory, self.leases)
        self._sweep_at = 0.0
        self._summary_at = time.monotonic() + SUMMARY_S
        self._summary_from = 0

    @property
    def handled(self) -> int:
        """The number of messages that this process has finished."""
        return self.loop.handled

    def run(self) -> int:
        """Work until told to stop. Returns the exit code. Raises ConfigError when another instance has our name."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        heartbeat = Heartbeat(self.queue, self._tell, self._on_lost, self.leases.renew, self.log.warning)
        try:
            self._resume(self.loop.call(self.queue.facts))
            # order: read the note, then start, because the start makes a newer token
            noted = read_note(self.context)
            back = self._begin()
            self.context.state_id = self.queue.state_id
            if self.context.instance_id:
                note_state(self.context, noted, self.queue.newest_before, self.queue.token)
            heartbeat.start()
            if not self._took_over():
                return self._end(heartbeat, EXIT_OK)
            self.context.cursors = self.loop.call(self.queue.cursors)
            self.log.info("start worker=%s pid=%d returned=%d", self.queue.identity.name, os.getpid(), back)
            if self.loop.settled(self.component.start):
                self._work()
                if not self.superseded:
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
        """Start this incarnation. Returns how many messages earlier incarnations left."""
        shared, superseded = self.context.shares_redis, ""
        if shared:
            superseded = self.loop.call(self._refuse_another)
        instance = self.context.instance_id if shared else ""
        return self.loop.call(lambda: self.queue.start(self._birth(), instance=instance, superseded=superseded))

    def _took_over(self) -> bool:
        """Take over the state that belongs to the section. Returns False when told to stop before that."""
        while not self.loop.stopping:
            try:
                self.loop.call(self.succession.begin)
                return True
            except StillRuns as error:
                if self.loop.state != "waiting":
                    self.log.warning("waiting reason=%s", error)
                self.loop.show("waiting", str(error))
                self.loop.sleep(STILL_S)
        return False

    def _work(self) -> None:
        if not self.loop.settled(self.intake.begin):
            return
        while not self.loop.stopping:
            try:
                self.intake.turn()
                if time.monotonic() >= self._sweep_at:
                    self._sweep_at = time.monotonic() + SWEEP_S
                    self.loop.call(self.succession.sweep)
            except Interrupted:
                continue
            self._summarise()
        self.intake.finish()

    def _end(self, heartbeat: Heartbeat, code: int) -> int:
        if heartbeat.is_alive():
            heartbeat.stop()
        if not self.superseded:
            try:
                self.loop.reporting.store(self.context.reports)
                self.leases.give(*self.leases.held)
                back = self.queue.leave()
                self.log.info("stop worker=%s handled=%d returned=%d", self.queue.identity.name, self.handled, back)
            except (*AWAY, Unavailable) as error:
                self.log.warning("stop redis_away reason=%s: what is held comes back at the next start", error)
        return code

    # Signals and signs of life

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.loop.on_signal()

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

    def _resume(self, former: dict[str, str]) -> None:
        """Take over the outages and reports of the previous incarnation, because a restart ends none of them."""
        seen_at = max(float(former.get(field, 0)) for field in ("beat_at", "started"))
        if self.context.clock() - seen_at < REMEMBERED_S:
            self.loop.outages.recall(read_outages(former), 0.0 if former.get("state") == "stopped" else seen_at)
            since = {(told.code, told.about): told.since for told in read_reports(former)}
            self.context.resume_reports(since, REMEMBERED_S)

    def _tell(self) -> dict[str, str | int]:
        """Return what goes with a sign of life; write first what is to outlive us."""
        self.loop.reporting.store(self.context.reports)
        return self._facts()

    def _facts(self) -> dict[str, str | int]:
        facts: dict[str, str | int] = {
            "state": self.loop.state,
            "reason": ascii_text(self.loop.reason[:300]),
            "since": f"{self.loop.since:.3f}",
            "handled": self.handled,
            "rss_kb": rss_kb(),
        }
        facts.update({f"note:{name}": ascii_text(text) for name, text in dict(self.context.notes).items()})
        return {**facts, **self.loop.outages.fields(), **self.loop.reporting.fields(self.context.reports)}

    def _summarise(self) -> None:
        now = time.monotonic()
        if now >= self._summary_at:
            rate = (self.handled - self._summary_from) / (now - self._summary_at + SUMMARY_S)
            self.log.info("summary handled=%d rate=%.1f/s state=%s", self.handled, rate, self.loop.state)
            self._summary_at, self._summary_from = now + SUMMARY_S, self.handled


def rss_kb(pid: int | str = "self") -> int:
    """Return a process's resident memory; 0 where the system does not tell it."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    except OSError:
        return 0
