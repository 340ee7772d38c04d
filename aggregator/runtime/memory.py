"""What stages remember from message to message: texts under names, stored in the step of the message that changed them.

The names belong to the queue that the section reads, so all processes that read the queue, on whatever node, see the
same. A commit takes effect only if everything that it changes is still as it was read.
"""

from __future__ import annotations

from collections.abc import Iterable

from aggregator.runtime.batch import Change
from aggregator.runtime.contract import Remember
from aggregator.runtime.queue import Queue


class Memory:
    """What was read of a batch's names, and what the messages handled so far made of them."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._read: dict[str, str] = {}
        self._changed: dict[str, str] = {}

    def fetch(self, names: Iterable[str]) -> None:
        """Read these names in one round trip, unless they were read before."""
        wanted = [name for name in dict.fromkeys(names) if name not in self._read]
        if wanted:
            self._read |= dict(zip(wanted, self._queue.recall(wanted), strict=True))

    def recall(self, name: str) -> str | None:
        """Return what is remembered under a name, None when there is nothing. Raises LookupError for one not read."""
        if name in self._changed:
            return self._changed[name] or None
        if name not in self._read:
            raise LookupError(f"{name!r} was not fetched: Stage.needs names what a message's handling recalls")
        return self._read[name] or None

    def change(self, outcomes: Iterable[Remember]) -> dict[str, Change]:
        """Take note of what changes, and return what is to be committed of it, by name.

        A name that was not read is written whatever is there.
        """
        changes = {each.name: Change(self._read.get(each.name), each.value or "", each.ttl_s) for each in outcomes}
        self._changed |= {name: change.text for name, change in changes.items()}
        return changes

    def forget(self) -> None:
        """Let go of all that was read and changed: the batch is committed, or begins anew."""
        self._read.clear()
        self._changed.clear()
