"""Changes that an operator makes to a state while none of its workers is alive."""

from __future__ import annotations

from typing import Any

from aggregator.runtime.keys import Keys
from aggregator.runtime.succession import put_back


def push(client: Any, keys: Keys, queue: str, *bodies: bytes) -> None:
    """Push messages to a queue, as any program may."""
    if bodies:
        client.rpush(keys.queue(queue), *bodies)


def put_back_all(client: Any, keys: Keys, queue: str) -> None:
    """Put back the messages that workers of a queue held when they ended."""
    for holder in client.smembers(keys.holders(queue)):
        put_back(client, keys, queue, holder.decode())


def forget_cursors(client: Any, keys: Keys, owner: str) -> int:
    """Delete the cursors of a section (`node:section`), and return how many there were."""
    number = int(client.hlen(keys.cursors(owner)))
    client.delete(keys.cursors(owner))
    return number
