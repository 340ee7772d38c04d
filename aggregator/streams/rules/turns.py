"""Whose turn it is to change the rules of a set at X: one process changes them at a time, on whatever node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from redis.exceptions import LockError

from aggregator.runtime.connection import AWAY, REFUSED
from aggregator.streams.rules.names import SetName

HELD_S = 120.0
"""How long a turn lasts at most after its last sign of life; a request to X takes no longer than half of it."""


class Busy(Exception):
    """Another process has the turn."""


class Turn:
    """The turn, while a process has it."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock

    def keep(self, seconds: float = HELD_S) -> None:
        """Have the turn for so many seconds from now on. Raises Busy when it was lost, or an error of Redis."""
        try:
            self._lock.extend(seconds, replace_ttl=True)
        except LockError as error:
            raise Busy("another process took the turn, because this one was silent for too long") from error


@contextmanager
def turn(client: Any, name: SetName) -> Iterator[Turn]:
    """Take the turn for a set. Raises Busy, or an error of Redis."""
    lock = client.lock(name.turn, timeout=HELD_S, blocking=False)
    if not lock.acquire():
        raise Busy(f"another process is about to change the rules of {name} at X")
    try:
        yield Turn(lock)
    finally:
        # when Redis is away or the turn was lost, it ends by itself
        with suppress(LockError, *AWAY, *REFUSED):
            lock.release()
