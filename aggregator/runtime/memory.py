"""The memory of stages: texts under names, stored in the same commit as the message that changed them.

The names belong to the queue that the section reads, so all processes that read the queue, on whatever node, see the
same texts. A commit takes effect only if every text that it changes is still as it was read.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from aggregator.runtime.batch import Change
from aggregator.runtime.contract import Remember
from aggregator.runtime.queue import Queue


class Memory:
    """The texts that were read for a batch, and the changes by the messages handled so far."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._read: dict[str, str] = {}
        self._changed: dict[str, str] = {}

    def fetch(self, names: Iterable[str]) -> None:
        """Read these names in one round trip, unless they were read before."""
        wanted = [name for name in dict.fromkeys(names) if name not in self._read]
        if wanted:
            self._read |= dict(zip(wanted, self._queue.recall(wanted), strict=True))

    @property
    def names(self) -> Container[str]:
        """The names that were read."""
        return self._read

    def recall(self, name: str) -> str | None:
        """Return the text under a name, None when there is none. Raises LookupError for a name that was not read."""
        if name in self._changed:
            return self._changed[name] or None
        if name not in self._read:
            raise LookupError(f"{name!r} was not fetched: Stage.needs names what a message's handling recalls")
        return self._read[name] or None

    def change(self, outcomes: Iterable[Remember]) -> dict[str, Change]:
        """Note changes, and return what is to be committed for them, by name.

        A name that was not read is overwritten, whatever is stored under it. Only what comes of no message (`settle`,
        `idle`) or of a message that died may change such a name, because nothing could name it before.
        """
        changes = {each.name: Change(self._read.get(each.name), each.value or "", each.ttl_s) for each in outcomes}
        self._changed |= {name: change.text for name, change in changes.items()}
        return changes

    def forget(self) -> None:
        """Forget everything that was read and changed, because the batch is committed or begins anew."""
        self._read.clear()
        self._changed.clear()
