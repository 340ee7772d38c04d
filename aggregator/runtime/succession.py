"""Take over state when a worker starts under another name than before, or reads another queue.

State is not identified by how an option is spelled. A section that was renamed, or whose node was renamed, goes on with
the cursors of the section that is gone. A section that reads another queue takes along the messages in the queue that
it read before, unless somebody else reads that queue now.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from aggregator.runtime.context import Context
from aggregator.runtime.contract import Former, Source, Stage
from aggregator.runtime.keys import Keys
from aggregator.runtime.neighbours import write_root
from aggregator.runtime.queue import Queue
from aggregator.runtime.roster import WorkerFacts, roster
from aggregator.runtime.scripts import script

PAGE = 2000
"""How many messages one call of the script moves."""
LEFT = "left"
"""The field of a worker's hash with the queues that its section read before, as JSON."""

_MOVE, _TAKEOVER, _RECOVER = script("move"), script("takeover"), script("recover")


class StillRuns(Exception):
    """A worker of an earlier build still runs, so what is to be taken over from it may still change."""


class Succession:
    """The state that one worker takes over from workers before it."""

    def __init__(self, queue: Queue, context: Context, component: Stage | Source) -> None:
        self._queue = queue
        self._context = context
        self._component = component
        self._client, self._keys = queue.client, queue.keys
        self._belongings = frozenset(type(component).belongings(component.settings, context.root))
        self._kinds = _kinds(self._belongings)
        self._left: list[str] = []
        self._kept: set[str] = set()
        """The queues of `_left` whose remembered texts stay, because this section has others of the same names."""

    def begin(self) -> None:
        """Take over cursors and queues. Raises StillRuns when the takeover must wait. Harmless when repeated."""
        workers = [facts for facts in roster(self._client, self._keys).workers if self._is_another(facts)]
        self._take_cursors(workers)
        if self._queue.name is not None and self._context.queues:
            before = [facts for facts in workers if self._is_before(facts)]
            known = self._client.hget(self._keys.worker(self._queue.identity.name), LEFT)
            names = msgspec.json.decode(known, type=list[str]) if known else []
            names += [*(facts.queue for facts in before), *self._context.read_before]
            read = {*self._context.queues, self._queue.name, ""}
            self._left = [name for name in dict.fromkeys(names) if name not in read]
            self._client.hset(self._keys.worker(self._queue.identity.name), LEFT, msgspec.json.encode(self._left))
            self._check_memory()
            self.sweep()

    def _check_memory(self) -> None:
        """Raise StillRuns while another worker may change what the section remembers, or its timers.

        Beginning without them would make a second memory, of which only one could be kept.
        """
        k = self._keys
        with_memory = [name for name in self._left if self._client.exists(k.memory(name), k.timers(name))]
        for facts in roster(self._client, self._keys).workers if with_memory else []:
            if facts.alive and facts.queue in with_memory and self._is_ours(facts):
                words = "holds timers or memory of this section"
                raise StillRuns(f"{facts.queue} {words}, and {facts.owner} still reads it: `supervisorctl update`")

    def sweep(self) -> None:
        """Take along what came meanwhile to the queues that the section read before."""
        # most often there is nothing, and a roster of all workers is dear
        left = [name for name in self._left if self._holds_something(name)]
        workers = roster(self._client, self._keys).workers if left else []
        for name in left:
            if any(facts.queue == name and facts.alive for facts in workers):
                continue  # somebody else reads this queue, or the worker that reads it has still to be started anew
            self._put_back(name)
            moved = move(self._client, self._keys, name, self._queue.name or "")
            if moved:
                self._context.log.warning("moved messages=%d from=%s to=%s", moved, name, self._queue.name)
            if kept := int(self._client.hlen(self._keys.memory(name))):
                self._kept.add(name)
                self._context.report(
                    "memory_left",
                    f"{kept} remembered texts stay with {name}: {self._queue.name} has others under the same names",
                    f"`run/aggregator state drop {name}` lets them go",
                    about=name,
                )

    def _is_ours(self, facts: WorkerFacts) -> bool:
        """True for a worker of the same instance.

        An instance that lost its id is known by its folder together with its node's name, which no other instance has.
        """
        same_node = facts.node == self._context.node
        here = same_node and bool(facts.root) and facts.root == write_root(self._context.root)
        same_id = bool(facts.instance) and facts.instance == self._context.instance_id
        return (here or same_id) and facts.machine == self._context.machine

    def _is_another(self, facts: WorkerFacts) -> bool:
        """True for a worker of the same instance that has another section, or another name of the node."""
        itself = facts.section == self._context.section and facts.node == self._context.node
        return self._is_ours(facts) and not itself

    def _is_before(self, facts: WorkerFacts) -> bool:
        """True for a worker of the same instance whose place this worker may have taken, under another name."""
        renamed = facts.section == self._context.section
        return renamed or (self._is_gone(facts) and not self._belongings.isdisjoint(facts.belongings))

    def _is_gone(self, facts: WorkerFacts) -> bool:
        return bool(self._context.sections) and facts.section not in self._context.sections

    def _take_cursors(self, workers: list[WorkerFacts]) -> None:
        """Take over the cursors about our belongings from sections that no longer have them: from all or from none."""
        own = self._queue.cursors()
        taken: dict[str, dict[str, str]] = {}
        for owner in dict.fromkeys(facts.owner for facts in workers):
            theirs = [facts for facts in workers if facts.owner == owner]
            if names := self._ours_of(owner, theirs, own, taken):
                taken[owner] = names
        for owner, names in taken.items():
            # a worker that already runs as built does not use these cursors any more, and needs no fence
            fenced = [facts for facts in workers if facts.owner == owner and not self._is_up_to_date(facts)]
            number = take_cursors(self._client, self._keys, owner, self._queue.identity.owner, names, fenced)
            self._context.log.warning("taken_over cursors=%d from=%s", number, owner)

    def _ours_of(
        self, owner: str, theirs: list[WorkerFacts], own: Mapping[str, str], taken: Mapping[str, Mapping[str, str]]
    ) -> dict[str, str]:
        """Return the cursors of a section that are ours by now. Raises StillRuns while that section may move them."""
        renamed = theirs[0].section == self._context.section
        belongings = {name for facts in theirs for name in facts.belongings}
        keeps = self._keeps(theirs[0])
        if not renamed and self._kinds.isdisjoint(_kinds({*belongings, *(keeps or ())})):
            return {}
        stored = self._client.hgetall(self._keys.cursors(owner)).items()
        cursors = {name.decode(): value.decode() for name, value in stored}
        known = dict(own)
        for others in taken.values() if own else ():
            known |= others
        names = type(self._component).take_over(
            self._component.settings, self._context.root, Former(cursors, belongings, keeps, renamed), known
        )
        if names and any(facts.alive and not self._is_up_to_date(facts) for facts in theirs):
            raise StillRuns(f"{owner} has the cursors of this section and still runs: `supervisorctl update` ends it")
        return {name: cursors[name] for name in names}

    def _keeps(self, facts: WorkerFacts) -> Collection[str] | None:
        """Return what a section works on as it is built; None when the section, or its node's name, is gone."""
        if facts.node != self._context.node or self._is_gone(facts):
            return None
        if not self._context.belongings:
            return facts.belongings  # the build is not known
        return self._context.belongings.get(facts.section, ())

    def _is_up_to_date(self, facts: WorkerFacts) -> bool:
        keeps = self._keeps(facts)
        return keeps is not None and set(facts.belongings) == set(keeps)

    def _holds_something(self, name: str) -> bool:
        k = self._keys
        keys = [k.queue(name), k.returned(name), k.delayed(name), k.dead(name), k.timers(name)]
        if self._client.exists(*keys, *(() if name in self._kept else (k.memory(name),))):
            return True
        holders = [holder.decode() for holder in self._client.smembers(k.holders(name))]
        keys = [key for holder in holders for key in (k.held(holder), k.caught(name, holder))]
        return bool(keys) and bool(self._client.exists(*keys))

    def _put_back(self, name: str) -> None:
        """Put back the messages of a queue that vanished workers hold: no worker reads the queue that could do so."""
        for holder in self._client.smembers(self._keys.holders(name)):
            put_back(self._client, self._keys, name, holder.decode())


def _kinds(belongings: Iterable[str]) -> set[str]:
    return {name.partition(":")[0] for name in belongings}


def take_cursors(
    client: Any, keys: Keys, owner: str, to: str, names: Collection[str], fenced: Iterable[WorkerFacts]
) -> int:
    """Give some cursors of one owner to another; the workers `fenced` can no longer commit. Returns how many.

    Harmless when repeated: a cursor that was given is gone, and a cursor that the new owner has already stays as it is.
    """
    workers = (keys.worker(facts.name) for facts in fenced)
    return int(_TAKEOVER.run(client, [keys.cursors(owner), keys.cursors(to), *workers], list(names)))


def put_back(client: Any, keys: Keys, queue: str, name: str) -> int:
    """Put back the messages of a queue that a vanished worker holds. Returns how many, -1 when the worker is alive."""
    token, beat = client.hmget(keys.worker(name), "token", "beat")
    names = [keys.worker(name), keys.held(name), keys.caught(queue, name), keys.queue(queue), keys.returned(queue)]
    return int(_RECOVER.run(client, [*names, keys.serial], [token or b"", beat or b""]))


def move(client: Any, keys: Keys, source: str, target: str) -> int:
    """Move everything that a queue holds to another queue: messages, dead letters, timers and memory.

    Returns the number of entries moved. Timers keep their time, and messages keep their history. Harmless when
    repeated.
    """
    if source == target:
        return 0
    k = keys
    kinds = (k.queue, k.returned, k.delayed, k.dead, k.books, k.timers, k.timed, k.memory, k.fading)
    names = [kind(queue) for queue in (source, target) for kind in kinds]
    total = 0
    while moved := int(_MOVE.run(client, [*names, keys.queues], [PAGE, target])):
        total += moved
    return total
