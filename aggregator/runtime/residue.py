"""Find what a namespace holds, and which queues and cursors in it nobody uses any more."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from aggregator.config.hints import counted
from aggregator.runtime.keys import Keys
from aggregator.runtime.ledger import accounts
from aggregator.runtime.roster import roster
from aggregator.runtime.schedule import split_timer_key
from aggregator.runtime.scripts import script
from aggregator.runtime.timers import pending

_EMPTY = script("empty")
_PAGE = 2000


class Residue(NamedTuple):
    """The number of messages in a queue."""

    queue: str
    waiting: int
    """Messages that are ready, in flight or to be tried again, and timers."""
    dead: int

    def __str__(self) -> str:
        words = counted(self.waiting, "message")
        return f"{words} and {counted(self.dead, 'dead letter')}" if self.dead else words

    @property
    def is_or_are(self) -> str:
        """The verb for these messages."""
        return "is" if self.waiting + self.dead == 1 else "are"


class Positions(NamedTuple):
    """The cursors of a section on a node."""

    owner: str
    """`node:section`."""
    number: int


class Namespace(NamedTuple):
    """A namespace in which an instance has worked."""

    name: str
    state_id: str
    waiting: int
    dead: int
    owners: int


def residues(client: Any, keys: Keys) -> list[Residue]:
    """Return every queue that holds something."""
    found = []
    for account in accounts(client, keys):
        waiting = account.ready + account.in_flight + account.delayed + account.timers
        if not account.is_source and (waiting or account.dead):
            found.append(Residue(account.name, waiting, account.dead))
    return found


def unread(client: Any, keys: Keys, read: Collection[str]) -> list[Residue]:
    """Return the queues that hold something and that nobody reads: not in `read`, and by no living worker."""
    served = {facts.queue for facts in roster(client, keys).workers if facts.alive}
    return [residue for residue in residues(client, keys) if residue.queue not in read and residue.queue not in served]


def left_positions(client: Any, keys: Keys, node: str, sections: Collection[str]) -> list[Positions]:
    """Return the cursors of sections that have no living worker, and are not among `sections` on this node."""
    workers = roster(client, keys).workers
    living = {facts.owner for facts in workers if facts.alive}
    found = []
    for owner in dict.fromkeys(facts.owner for facts in workers):
        there, _, section = owner.partition(":")
        number = int(client.hlen(keys.cursors(owner)))
        if number and owner not in living and not (there == node and section in sections):
            found.append(Positions(owner, number))
    return found


def namespaces(client: Any, instance_id: str, but: str) -> Iterator[Namespace]:
    """Yield the namespaces of this Redis, except `but`, in which an instance has worked."""
    for key in sorted(client.scan_iter(match="{*}:state", count=1000)):
        name = key.decode()[1:].removesuffix("}:state")
        keys = Keys(name)
        workers = [] if name == but else roster(client, keys).workers
        if not any(facts.instance == instance_id for facts in workers):
            continue
        found = residues(client, keys)
        with_cursors = sum(bool(client.exists(keys.cursors(owner))) for owner in {facts.owner for facts in workers})
        state_id = (client.hget(keys.state, "id") or b"").decode()
        yield Namespace(name, state_id, sum(r.waiting for r in found), sum(r.dead for r in found), with_cursors)


def empty(client: Any, keys: Keys, queue: str) -> int:
    """Delete everything that a queue holds; the books count it as `dropped:operator`. Returns how many entries.

    What was scheduled by a timer that is deleted begins anew when its section starts again.
    """
    _forget_scheduled(client, keys, queue)
    names = [keys.queue(queue), keys.returned(queue), keys.delayed(queue), keys.dead(queue), keys.books(queue)]
    names += [keys.timers(queue), keys.timed(queue), keys.memory(queue), keys.fading(queue)]
    total = 0
    while gone := int(_EMPTY.run(client, names, [_PAGE])):
        total += gone
    return total


def _forget_scheduled(client: Any, keys: Keys, queue: str) -> None:
    """Delete the cursors that say of scheduled things that their timers, which wait for this queue, are under way."""
    scheduled = dict(found for timer in pending(client, keys, queue) if (found := split_timer_key(timer.name)))
    if not scheduled:
        return
    for owner in {facts.owner for facts in roster(client, keys).workers}:
        begun = {name.decode(): text.decode() for name, text in client.hgetall(keys.cursors(owner)).items()}
        # a cursor KIND:NAME of a scheduled thing begins with the generation of its timer
        lost = [name for name, text in begun.items() if text.split(" ")[0] == scheduled.get(name.partition(":")[2])]
        if lost:
            client.hdel(keys.cursors(owner), *lost)
