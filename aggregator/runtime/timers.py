"""Waiting timers: messages with a name, each of which enters its queue when it is due.

Timers wait apart from messages and count in no depth limit. Sending to a name again replaces the timer that waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from aggregator.runtime.keys import Keys

_PAGE = 1000


class Timer(NamedTuple):
    """One timer; `due` in Unix seconds, `body` the JSON text of the message that it becomes."""

    name: str
    due: float
    body: bytes


def pending(client: Any, keys: Keys, queue: str) -> Iterator[Timer]:
    """Yield the timers of a queue (its name as in Redis), the first that is due first."""
    at = 0
    while page := client.zrange(keys.timers(queue), at, at + _PAGE - 1, withscores=True):
        bodies = client.hmget(keys.timed(queue), [name for name, _ in page])
        for (name, due), body in zip(page, bodies, strict=True):
            if body is not None:  # a timer without a body became a message meanwhile
                yield Timer(name.decode(), float(due), body)
        at += _PAGE
