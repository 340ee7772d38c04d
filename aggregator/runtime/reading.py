"""Read what waits and what is remembered, for code that only looks: commands, reports, the generator.

No code outside the runtime builds a key or reads a Redis structure: only this module knows where something waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from aggregator.runtime.keys import Keys
from aggregator.runtime.message import Message, read_entry
from aggregator.runtime.timers import pending


class State(NamedTuple):
    """The state that a namespace holds."""

    id: str
    """Empty before the first worker of the namespace has started."""
    began_at: float | None
    """Unix seconds."""


def state_of(client: Any, keys: Keys) -> State:
    """Return which state a namespace holds."""
    began = client.hget(keys.state, "began")
    return State((client.hget(keys.state, "id") or b"").decode(), float(began) if began else None)


def cursors_of(client: Any, keys: Keys, owner: str, prefix: str = "") -> dict[str, str]:
    """Return the cursors of a section (`node:section`) whose names begin with `prefix`, by the rest of the name.

    Cursors with an empty text are left out.
    """
    found = client.hgetall(keys.cursors(owner)).items()
    start = prefix.encode()
    return {name[len(start) :].decode(): text.decode() for name, text in found if name.startswith(start) and text}


def cursor_names(client: Any, keys: Keys, owner: str) -> list[str]:
    """Return the names of all cursors of a section."""
    return [name.decode() for name in client.hkeys(keys.cursors(owner))]


def waiting(client: Any, keys: Keys, queue: str) -> Iterator[Message]:
    """Yield every message that waits in a queue: as a timer, for its time, for another try, or for a worker.

    `queue` is a name as in Redis. Messages that a worker has in hand are not among them.
    """
    yield from map(
        read_entry,
        (
            *(timer.body for timer in pending(client, keys, queue)),
            *client.zrange(keys.delayed(queue), 0, -1),
            *client.lrange(keys.returned(queue), 0, -1),
            *client.lrange(keys.queue(queue), 0, -1),
        ),
    )


class Overdue(NamedTuple):
    """What of a queue waits only for a worker, without the messages in the ready list."""

    messages: int = 0
    timers: int = 0


def overdue(client: Any, keys: Keys, queue: str, now: float) -> Overdue:
    """Return how much of a queue is due, and waits only for a worker."""
    messages = client.llen(keys.returned(queue)) + client.zcount(keys.delayed(queue), "-inf", now)
    return Overdue(messages, client.zcount(keys.timers(queue), "-inf", now))


def is_known(client: Any, keys: Keys, queue: str) -> bool:
    """True for a queue that was ever used."""
    return bool(client.sismember(keys.queues, queue))
