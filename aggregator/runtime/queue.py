"""One worker's hold on its queue: start, claim, wait, commit, beat, recover, leave.

Every call is harmless when repeated, so the caller may try again whenever Redis does not answer: a claim first
returns the messages that it already took, and a commit carries a number and has no effect the second time. A call of
an incarnation that was superseded has no effect at all and raises Superseded.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from redis.exceptions import OutOfMemoryError

from aggregator.errors import ConfigError, CursorMoved, LeaseLost, MemoryChanged, Superseded
from aggregator.runtime.batch import Batch
from aggregator.runtime.keys import Keys, resolve
from aggregator.runtime.message import Message, read_entry
from aggregator.runtime.scripts import script
from aggregator.runtime.sections import Sections

ADVICE = (
    "each would take the other's messages: give this one another `namespace` in [redis], or another `node` in "
    "[aggregator] when both are to share queues"
)
"""What to do when two instances have one node's name."""
FULL_MEMORY_S = 0.2
"""How often to look for messages in a Redis that cannot wait for them because its memory is full."""


class Identity(NamedTuple):
    """The identity of one worker."""

    section: str
    number: int
    node: str

    @property
    def name(self) -> str:
        """The worker's name, which is the same across restarts."""
        return f"{self.node}:{self.section}_{self.number}"

    @property
    def owner(self) -> str:
        """The owner of the section's cursors on this node."""
        return f"{self.node}:{self.section}"


class Claim(NamedTuple):
    """The result of a claim.

    `full` names the target that has no room, `due_s` is the time until the next delayed message or timer is due.
    """

    messages: list[Message]
    alone: bool
    due_s: float | None
    full: str


class Holding(NamedTuple):
    """A sign of life of a worker that holds messages."""

    name: str
    token: bytes
    beat: bytes


class Queue:
    """The queue as one worker sees it. A source has none (`listens` is None) and only sends.

    `limits` has the depth limit of each target queue that has one.
    """

    def __init__(
        self,
        client: Any,
        keys: Keys,
        identity: Identity,
        listens: str | None,
        *,
        limits: Mapping[str, int] | None = None,
        alone_from: int = 1,
    ) -> None:
        self.client = client
        self.keys = keys
        self.identity = identity
        self.name = resolve(listens, identity.node) if listens else None
        self.account = self.name or identity.name
        self.token = ""
        self.state_id = ""
        """The id of the state in Redis, known after `start`."""
        self.newest_before = 0
        """The newest token that any worker of this state had before `start`, in microseconds; 0 where none is known."""
        self.number = 0
        self.alone_from = alone_from
        limits = limits or {}
        self._bounded = list(limits)
        self._limits = list(limits.values())
        self._limit_keys = [key for target in limits for key in self._depth_keys(target)]
        k, me, q = keys, identity.name, self.name
        # a source remembers nothing: its cursors do
        self._memory_keys = [k.memory(self.name), k.fading(self.name)] if self.name else [k.worker(me)] * 2
        self._commit_keys = [k.worker(me), k.books(self.account), k.cursors(identity.owner), k.serial, k.queues]
        self._commit_keys += self._memory_keys
        if q:
            self._claim_keys = [k.worker(me), k.held(me), k.caught(q, me), k.queue(q), k.returned(q), k.delayed(q)]
            self._claim_keys += [k.books(q), k.flow(q), k.timers(q), k.timed(q), *self._limit_keys]
            self._commit_keys += [k.held(me), k.returned(q), k.delayed(q), k.dead(q)]
        else:
            self._commit_keys += [k.worker(me)] * 4
        self._scripts = {
            name: script(name)
            for name in ("start", "claim", "room", "commit", "turn", "beat", "recover", "recall", "leave", "waiting")
        }

    def _run(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        return self._scripts[name].run(self.client, keys, args)

    def _depth_keys(self, target: str) -> list[str]:
        queue = resolve(target, self.identity.node)
        return [self.keys.queue(queue), self.keys.returned(queue), self.keys.delayed(queue)]

    def start(self, facts: Mapping[str, str | int], *, instance: str = "", superseded: str = "") -> int:
        """Begin a new incarnation, and put back what earlier ones held. Returns the number of messages put back.

        With `instance` the node's name must be free, or belong to this instance or to `superseded`; otherwise
        ConfigError is raised. It is also raised while a state is being imported.
        """
        me, k = self.identity.name, self.keys
        keys = [k.worker(me), k.workers, k.queues, k.serial, k.held(me), k.state, k.instances, k.restoring]
        pairs = [part for pair in facts.items() for part in pair]
        queue, claims = self.name or "", [self.identity.node, instance, superseded]
        args = [me, queue, k.prefix, secrets.token_hex(8), *claims, "queue", queue, *pairs]
        reply = self._run("start", keys, args)
        if reply[0] == b"another":
            raise ConfigError(
                f"the instance {reply[1].decode()} works in this Redis as node {self.identity.node} too; {ADVICE}"
            )
        if reply[0] == b"importing":
            raise ConfigError(
                "a state is being imported, or an import was broken off: let `state import` end, or do it again"
            )
        self.token, self.number, self.state_id = reply[0].decode(), 0, reply[2].decode()
        self.newest_before = int(reply[3] or 0)
        return int(reply[1])

    def facts(self) -> dict[str, str]:
        """Return the facts that the last incarnation of this worker left."""
        stored = self.client.hgetall(self.keys.worker(self.identity.name))
        return {name.decode(): value.decode(errors="replace") for name, value in stored.items()}

    def cursors(self) -> dict[str, str]:
        """Return the positions committed by this section on this node."""
        stored = self.client.hgetall(self.keys.cursors(self.identity.owner))
        return {name.decode(): value.decode() for name, value in stored.items()}

    def waiting_timers(self) -> frozenset[str] | None:
        """Return the keys of the timers that wait for this queue; None when messages of the queue are under way.

        Dead letters are not under way.
        """
        k, q = self.keys, self.name
        assert q, "only a queue has timers"
        holders = [name.decode() for name in self.client.smembers(k.holders(q))]
        held = [key for name in holders for key in (k.held(name), k.caught(q, name))]
        found = self._run("waiting", [k.timers(q), k.queue(q), k.returned(q), k.delayed(q), *held], [])
        return None if found is None else frozenset(key.decode(errors="replace") for key in found)

    def claim(self, known: int, want: int) -> Claim:
        """Take up to `want` messages without waiting; `known` held ones are in the worker's hands already."""
        return self._claimed(
            self._run("claim", self._claim_keys, [self.token, self.number, known, want, self.alone_from, *self._limits])
        )

    def _claimed(self, reply: list[bytes], batch: Batch | None = None) -> Claim:
        status = reply[0].decode()
        if not status.startswith(("ok", "alone", "full")):
            raise _refusal(status, batch)
        full = self._bounded[int(status[5:]) - 1] if status.startswith("full") else ""
        due_s = float(reply[1]) if reply[1] else None
        return Claim([read_entry(entry) for entry in reply[2:]], status == "alone", due_s, full)

    def held(self) -> list[Message]:
        """Return the messages that this worker holds."""
        return [read_entry(entry) for entry in self.client.lrange(self.keys.held(self.identity.name), 0, -1)]

    def wait(self, timeout_s: float) -> None:
        """Block until a message comes or the time is over; the next claim returns the message."""
        assert self.name is not None
        queue, caught = self.keys.queue(self.name), self.keys.caught(self.name, self.identity.name)
        try:
            self.client.blmove(queue, caught, max(timeout_s, 0.01), "LEFT", "RIGHT")
        except OutOfMemoryError:
            # a Redis at its maxmemory refuses BLMOVE, but takes our claims
            time.sleep(min(timeout_s, FULL_MEMORY_S))

    def room(self) -> str:
        """Return the name of a target queue that is full, or an empty text."""
        full = self._run("room", self._limit_keys, self._limits) if self._limits else 0
        return self._bounded[full - 1] if full else ""

    def recall(self, names: Sequence[str]) -> list[str]:
        """Return what is remembered under each name, an empty text where there is nothing."""
        return [text.decode() for text in self._run("recall", self._memory_keys[:1], names)]

    def commit(self, batch: Batch, *, prefix: bool) -> bool:
        """Make a batch take effect in one step; with `prefix` its entries are the first entries of `held`, in order.

        Returns True when the batch has taken effect, by this call or by an earlier one whose reply was lost. Raises
        Superseded, CursorMoved, MemoryChanged or LeaseLost when nothing has taken effect.
        """
        keys, args = self._commit_call(batch, prefix)
        status = self._run("commit", keys, args).decode()
        if status not in ("ok", "again"):
            raise _refusal(status, batch)
        self.number += 1
        return True

    def turn(self, batch: Batch, want: int) -> Claim:
        """Commit a batch that is all this worker holds, and claim up to `want` messages in the same step.

        Raises the same errors as `commit`.
        """
        keys, args = self._commit_call(batch, prefix=True)
        claim = [len(self._limits), self.token, self.number + 1, 0, want, self.alone_from, *self._limits]
        reply = self._run("turn", self._claim_keys + keys, claim + args)
        claimed = self._claimed(reply, batch)
        self.number += 1
        return claimed

    def _commit_call(self, batch: Batch, prefix: bool) -> tuple[list[str], list[Any]]:
        """Return the keys and arguments of commit.lua."""
        sections = Sections(self.keys, self.identity.node, len(self._commit_keys))
        sections.add(batch, prefix=prefix)
        return self._commit_keys + sections.keys, [self.token, self.number + 1, *sections.args]

    def beat(self, facts: Mapping[str, str | int]) -> list[Holding]:
        """Show a sign of life, and return the signs of the other workers that hold messages of this queue."""
        k, me = self.keys, self.identity.name
        keys = [k.worker(me)] + ([k.holders(self.name)] if self.name else [])
        pairs = [part for pair in facts.items() for part in pair]
        reply = self._run("beat", keys, [self.token, k.worker(""), k.held(""), k.caught(self.name or "", ""), *pairs])
        if not reply[0]:
            raise Superseded(_why("superseded"))
        others = (Holding(reply[i].decode(), reply[i + 1], reply[i + 2]) for i in range(1, len(reply), 3))
        return [other for other in others if other.name != me]

    def recover(self, silent: Holding) -> int:
        """Take over the messages of a silent worker. Returns how many were put back, -1 when the worker is alive."""
        assert self.name is not None
        k, q, other = self.keys, self.name, silent.name
        keys = [k.worker(other), k.held(other), k.caught(q, other), k.queue(q), k.returned(q), k.serial]
        return int(self._run("recover", keys, [silent.token, silent.beat]))

    def leave(self) -> int:
        """End in good order. Returns how many messages went back untried."""
        k, me, q = self.keys, self.identity.name, self.name
        keys = [k.worker(me)] + ([k.held(me), k.caught(q, me), k.queue(q), k.returned(q)] if q else [])
        return int(self._run("leave", keys, [self.token]))


def _refusal(status: str, batch: Batch | None) -> Exception:
    """Return the error for the status with which a script refused to work."""
    what, _, name = status.partition(" ")
    if what == "cursor":
        return CursorMoved(f"the stored position of {name} is not the one this worker started from")
    if what == "memory":
        return MemoryChanged(f"another worker changed what is remembered under {name}")
    if what == "lease" and batch is not None:
        token, _, name = name.partition(" ")
        leases = (each.lease for each in batch.cursors if each.lease is not None)
        pool = next(lease.pool for lease in leases if (lease.token, lease.name) == (token, name))
        return LeaseLost(pool, name)
    return Superseded(_why(status))


def _why(status: str) -> str:
    if status == "rolledback":
        return "Redis came back older than it was: starting again from what it knows"
    return "a newer incarnation of this worker, or a sibling, has taken over"
