"""What a worker takes over when it starts under another name than before, or reads another queue.

What identifies state is not how an option is spelled. A section that was renamed, or runs on a node that was renamed,
goes on with the cursors of the section that is gone; a section that reads another queue takes along what lies in the
one it read before, unless somebody else reads that now.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from aggregator.runtime.keys import Keys
from aggregator.runtime.queue import Queue
from aggregator.runtime.residue import put_back
from aggregator.runtime.roster import WorkerFacts, roster
from aggregator.runtime.scripts import script
from aggregator.runtime.stage import Context

PAGE = 2000
"""So many messages are moved in one script."""
LEFT = "left"
"""The field of a worker's hash with the queues that its section read before, as JSON."""

_MOVE, _TAKEOVER = script("move"), script("takeover")


class StillRuns(Exception):
    """A section that is gone from the configuration has a worker that lives: its cursors still move."""


class Succession:
    """What one worker takes over from those before it."""

    def __init__(self, queue: Queue, context: Context, belongings: Collection[str]) -> None:
        self._queue = queue
        self._context = context
        self._client, self._keys = queue.client, queue.keys
        self._belongings = frozenset(belongings)
        self._left: list[str] = []

    def begin(self) -> None:
        """Take over cursors and queues. Raises StillRuns when that must wait. Harmless when repeated."""
        workers = roster(self._client, self._keys).workers
        before = [facts for facts in workers if self._is_before(facts)]
        if not self._client.exists(self._keys.cursors(self._queue.identity.owner)):
            self._take_cursors([facts for facts in before if self._shares(facts)])
        if self._queue.name is not None:
            known = self._client.hget(self._keys.worker(self._queue.identity.name), LEFT)
            names = msgspec.json.decode(known, type=list[str]) if known else []
            names += [self._queue.read_before, *(facts.queue for facts in before)]
            read = {*self._context.queues, self._queue.name, ""}
            self._left = [name for name in dict.fromkeys(names) if name not in read] if self._context.queues else []
            self._client.hset(self._keys.worker(self._queue.identity.name), LEFT, msgspec.json.encode(self._left))
            self.sweep()

    def sweep(self) -> None:
        """Take along what came meanwhile to the queues that the section read before."""
        if not self._left:
            return
        workers = roster(self._client, self._keys).workers
        for name in self._left:
            if any(facts.queue == name and facts.alive for facts in workers):
                continue  # somebody else reads it, or its own worker has still to be started anew
            self._put_back(name)
            moved = move(self._client, self._keys, name, self._queue.name or "")
            if moved:
                self._context.log.warning("moved messages=%d from=%s to=%s", moved, name, self._queue.name)

    def _is_before(self, facts: WorkerFacts) -> bool:
        """True for a worker whose place this one may have: of the same instance, under another name."""
        if not self._is_ours(facts) or (facts.section == self._context.section and facts.node == self._context.node):
            return False
        renamed = facts.section == self._context.section
        gone = bool(self._context.sections) and facts.section not in self._context.sections
        return renamed or (gone and self._shares(facts))

    def _is_ours(self, facts: WorkerFacts) -> bool:
        same_machine = facts.machine == self._context.machine
        return bool(facts.instance) and facts.instance == self._context.instance_id and same_machine

    def _shares(self, facts: WorkerFacts) -> bool:
        return facts.section == self._context.section or not self._belongings.isdisjoint(facts.belongings)

    def _take_cursors(self, before: list[WorkerFacts]) -> None:
        owners = dict.fromkeys(f"{facts.node}:{facts.section}" for facts in before)
        for owner in owners:
            names = self._client.hkeys(self._keys.cursors(owner))
            if not names:
                continue
            theirs = [facts for facts in before if f"{facts.node}:{facts.section}" == owner]
            if any(facts.alive for facts in theirs):
                raise StillRuns(
                    f"{owner} has the cursors of this section and still runs: `supervisorctl update` ends it"
                )
            workers = [self._keys.worker(facts.name) for facts in theirs]
            keys = [self._keys.cursors(owner), self._keys.cursors(self._queue.identity.owner), *workers]
            taken = _TAKEOVER.run(self._client, keys, names)
            self._context.log.warning("taken_over cursors=%d from=%s", taken, owner)

    def _put_back(self, name: str) -> None:
        """Return what workers that vanished hold of a queue; nobody who reads it could do so."""
        for holder in self._client.smembers(self._keys.holders(name)):
            put_back(self._client, self._keys, name, holder.decode())


def move(client: Any, keys: Keys, source: str, target: str) -> int:
    """Move all that a queue holds to another one: ready, returned, delayed, dead. Returns how many messages.

    Timers keep their time, histories stay. Harmless when repeated.
    """
    if source == target:
        return 0
    names = [
        key(queue)
        for queue in (source, target)
        for key in (keys.queue, keys.returned, keys.delayed, keys.dead, keys.books)
    ]
    total = 0
    while moved := int(_MOVE.run(client, [*names, keys.queues], [PAGE, target])):
        total += moved
    return total
