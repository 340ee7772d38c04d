"""The books: what went into each section, what came of it, and whether that adds up.

For a section that reads a queue: in = out + dropped + dead + in flight + delayed, where `in` counts messages taken
from the queue, once each however often they are tried, and the other side is counted from the structures themselves.
For its queue: what our own sections pushed ≤ in + waiting; the rest came from programs outside. For a source:
in = out + dropped.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aggregator.runtime.keys import Keys
from aggregator.runtime.scripts import script

_ACCOUNT = script("account")


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The books of one section at one instant. Ages in seconds, rates in messages a second over the last minute."""

    name: str
    """The queue a section reads, or a source's worker name."""
    in_: int = msgspec.field(name="in")
    out: int
    dropped: dict[str, int]
    dead: int
    in_flight: int = 0
    delayed: int = 0
    ready: int = 0
    timers: int = 0
    """How many timers wait. A timer becomes a message when it is due, and is in no balance before."""
    pushed: int = 0
    retried: int = 0
    counts: dict[str, int] = {}
    busy_s: float = 0.0
    oldest_age_s: float = 0.0
    rate_in: float = 0.0
    rate_out: float = 0.0
    last_commit: float | None = None
    """Unix seconds of the last commit; None before the first."""

    @property
    def difference(self) -> int:
        """What is missing (positive) or too much (negative) on the right side of the equation."""
        return self.in_ - self.out - sum(self.dropped.values()) - self.dead - self.in_flight - self.delayed

    @property
    def external(self) -> int:
        """How many messages came from programs outside; below zero, messages vanished from the queue."""
        return self.in_ + self.ready - self.pushed

    @property
    def balanced(self) -> bool:
        """True when nothing is missing."""
        return self.difference == 0 and (self.external >= 0 or self.is_source)

    @property
    def is_source(self) -> bool:
        """True for the books of a source, which has no queue of its own."""
        return ":" in self.name


def accounts(client: Any, keys: Keys) -> list[Account]:
    """Return every account of the namespace, queues first."""
    queues = sorted(name.decode() for name in client.smembers(keys.queues))
    workers = sorted(name.decode() for name in client.smembers(keys.workers))
    sources = [name for name in workers if not client.hget(keys.worker(name), "queue")]
    return [read_account(client, keys, name) for name in queues + sources]


def read_account(client: Any, keys: Keys, name: str) -> Account:
    """Return one account, read at one instant."""
    names = [keys.books(name)]
    if ":" not in name:
        q = name
        names += [keys.queue(q), keys.returned(q), keys.delayed(q), keys.dead(q), keys.flow(q), keys.holders(q)]
        names.append(keys.timers(q))
    reply = _ACCOUNT.run(client, names, [keys.held(""), keys.caught(name, "")])
    now, flat = float(reply[0]), reply[1]
    books = {flat[i].decode(): flat[i + 1].decode() for i in range(0, len(flat), 2)}
    number = {field: int(value) for field, value in books.items() if field not in ("committed", "sampled")}
    account = Account(
        name=name,
        in_=number.get("in", 0),
        out=number.get("out", 0),
        dropped=_group(number, "dropped:"),
        counts=_group(number, "count:"),
        dead=0,
        pushed=number.get("pushed", 0),
        retried=number.get("retried", 0),
        busy_s=number.get("busy_us", 0) / 1e6,
        last_commit=float(books["committed"]) if "committed" in books else None,
    )
    if len(reply) == 2:
        return account
    ready, returned, delayed, dead, in_flight, caught, timers, oldest, samples = reply[2:]
    rate_in, rate_out = _rates(samples)
    return msgspec.structs.replace(
        account,
        ready=ready + caught,
        delayed=returned + delayed,
        dead=dead,
        in_flight=in_flight,
        timers=timers,
        oldest_age_s=max(0.0, now - float(oldest)) if oldest else 0.0,
        rate_in=rate_in,
        rate_out=rate_out,
    )


def imbalances(account: Account) -> list[str]:
    """Return one sentence for each sum of an account that does not add up."""
    found = []
    right = (
        f"{account.out:,} out + {sum(account.dropped.values()):,} dropped + {account.dead:,} dead"
        f" + {account.in_flight:,} in flight + {account.delayed:,} delayed"
    )
    if account.difference:
        gap = f"{account.difference:,} missing" if account.difference > 0 else f"{-account.difference:,} too many"
        found.append(f"books of {account.name}: {account.in_:,} in, but {right}: {gap}")
    if not account.is_source and account.external < 0:
        seen = f"{account.in_:,} taken and {account.ready:,} waiting"
        found.append(f"queue {account.name}: {account.pushed:,} pushed, but {seen}: {-account.external:,} vanished")
    return found


def _group(number: dict[str, int], prefix: str) -> dict[str, int]:
    return {field[len(prefix) :]: value for field, value in sorted(number.items()) if field.startswith(prefix)}


def _rates(samples: list[bytes]) -> tuple[float, float]:
    """Return arrivals and departures a second between the first and the last sample `second arrived taken`."""
    if len(samples) < 2:
        return 0.0, 0.0
    first, last = ([int(part) for part in sample.split()] for sample in (samples[0], samples[-1]))
    seconds = max(last[0] - first[0], 1)
    return (last[1] - first[1]) / seconds, (last[2] - first[2]) / seconds
