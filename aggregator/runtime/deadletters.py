"""The dead letters of a queue: write them, look at them, put them back, let them go.

Every change is one atomic step that is harmless when repeated: the id of a letter that is gone has no effect. Letters
are read in pages, so that a million of them fit into memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from aggregator.runtime.batch import Batch
from aggregator.runtime.contract import Remember, Send, Stage
from aggregator.runtime.keys import Keys
from aggregator.runtime.memory import Memory
from aggregator.runtime.message import History, Message, read_entry
from aggregator.runtime.scripts import script

PAGE = 500
"""How many letters are read, or changed, in one call."""

Change: TypeAlias = Callable[[Any, Keys, str, Iterable[int]], int]
"""`requeue` or `drop`."""

_REQUEUE = script("requeue")
_DROP = script("drop")


class DeadLetter(NamedTuple):
    """One message that was set aside; `raw` is its body, byte for byte."""

    queue: str
    id: int
    history: History
    raw: bytes


def set_aside(
    batch: Batch, message: Message, history: History, stage: Stage, memory: Memory, *, told: bool = True
) -> None:
    """Write a dead letter with the batch's commit, and with it, when `told`, the outcomes of `Stage.died`.

    An error in `died` is logged and counted; the message becomes a dead letter all the same.
    """
    context = stage.context
    try:
        if told:
            batch.changes |= memory.change(batch.settled(stage.died(message, history), Send, Remember))
    except Exception as error:  # noqa: BLE001 - the message is set aside all the same
        context.count("died_untold")
        context.log.error("died_untold error=%s: %s", type(error).__name__, error)
    batch.set_aside(message, history)
    context.log.error("dead attempts=%d error=%s", history.attempts, history.error)


def queue_names(client: Any, keys: Keys) -> list[str]:
    """Return the names of all queues that were ever in use."""
    return sorted(name.decode() for name in client.smembers(keys.queues))


def count(client: Any, keys: Keys, queue: str) -> int:
    """Return how many dead letters a queue has."""
    return int(client.hlen(keys.dead(queue)))


def scan(client: Any, keys: Keys, queue: str) -> Iterator[DeadLetter]:
    """Yield the letters of a queue in no order, by pages. A letter that moves meanwhile may come twice or never."""
    for field, entry in client.hscan_iter(keys.dead(queue), count=PAGE):
        yield _letter(queue, field, entry)


def newest(client: Any, keys: Keys, queues: Iterable[str], limit: int) -> list[DeadLetter]:
    """Return the letters that died last, newest first."""
    letters = (letter for queue in queues for letter in scan(client, keys, queue))
    return heapq.nlargest(limit, letters, key=lambda letter: (letter.history.died, letter.id))


def find(client: Any, keys: Keys, queues: Iterable[str], number: int) -> DeadLetter | None:
    """Return the letter with an id from whichever queue has it; None when there is none."""
    for queue in queues:
        entry = client.hget(keys.dead(queue), number)
        if entry is not None:
            return _letter(queue, str(number).encode(), entry)
    return None


def requeue(client: Any, keys: Keys, queue: str, numbers: Iterable[int]) -> int:
    """Put letters back into their queue as if they had never been tried. Returns how many were put back."""
    names = [keys.dead(queue), keys.returned(queue)]
    return sum(int(_REQUEUE.run(client, names, page)) for page in _pages(numbers))


def drop(client: Any, keys: Keys, queue: str, numbers: Iterable[int]) -> int:
    """Delete letters for good; the books count them as `dropped:operator`. Returns how many were deleted."""
    names = [keys.dead(queue), keys.books(queue)]
    return sum(int(_DROP.run(client, names, page)) for page in _pages(numbers))


def matching(client: Any, keys: Keys, queue: str, wanted: Callable[[DeadLetter], bool], *, now: float) -> Iterator[int]:
    """Yield the ids of the letters that are wanted and were dead already at `now`, in Unix seconds.

    A letter that is put back and dies again meanwhile is left alone, because otherwise this might never end.
    """
    for letter in scan(client, keys, queue):
        if letter.history.died <= now and wanted(letter):
            yield letter.id


def _letter(queue: str, field: bytes, entry: bytes) -> DeadLetter:
    message = read_entry(entry)
    return DeadLetter(queue, int(field), message.history or History(), message.raw)


def _pages(numbers: Iterable[int]) -> Iterator[list[int]]:
    remaining = iter(numbers)
    while page := sorted(islice(remaining, PAGE)):
        yield page
