"""Write a batch as keys and arguments of commit.lua: sections, each with its name and its number of arguments."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import chain
from typing import Any

from aggregator.runtime.batch import Batch, Change, Position
from aggregator.runtime.contract import Lease
from aggregator.runtime.keys import Keys, resolve


class Sections:
    """Write the sections of one batch. `fixed` is how many keys commit.lua has before the keys of sections."""

    def __init__(self, keys: Keys, node: str, fixed: int) -> None:
        self._keys = keys
        self._node = node
        self._first = fixed + 1
        self.keys: list[str] = []
        self._args: list[Any] = []
        self._count = 0

    @property
    def args(self) -> list[Any]:
        """The number of sections, and then all sections."""
        return [self._count, *self._args]

    def add(self, batch: Batch, *, prefix: bool) -> None:
        """Write everything in a batch; with `prefix` its entries are the first entries of `held`, in order."""
        copied = {target for target in batch.sends if prefix and batch.is_copy(target)}
        mode = "copy" if copied else "first" if prefix else "these"
        # order: what Redis could refuse comes first, so that nothing else has happened then
        self._rows("books", batch.counts.items())
        if batch.entries:
            self._section("leave", mode, len(batch.entries), *(() if prefix else batch.entries))
        if batch.cursors:
            self._rows("cursors", (_position(each) for each in batch.cursors if each.lease is None))
            for lease in dict.fromkeys(each.lease for each in batch.cursors if each.lease is not None):
                self._lease(lease, [each for each in batch.cursors if each.lease == lease])
        self._rows("retry", batch.retries)
        self._rows("dead", batch.dead)
        self._rows("back", batch.back)
        if batch.changes:
            self._rows("remember", (_change(name, change) for name, change in batch.changes.items()))
        for target in batch.sends.keys() | batch.delayed.keys():
            self._target(target, batch, target in copied)
        for target, timers in batch.timers.items():
            queue = resolve(target, self._node)
            at = self._add_keys(self._keys.timers(queue), self._keys.timed(queue))
            rows = (part for name, (delay_s, body) in timers.items() for part in (name, delay_s, body))
            self._section("timers", at, queue, *rows)

    def _target(self, target: str, batch: Batch, copied: bool) -> None:
        queue, keys = _target_keys(self._keys, self._node, target)
        at = self._add_keys(*keys)
        if target in batch.sends:
            self._section("send", at, queue, *(() if copied else batch.sends[target]))
        if target in batch.delayed:
            self._section("later", at, queue, *chain.from_iterable(batch.delayed[target]))

    def _lease(self, lease: Lease, positions: Iterable[Position]) -> None:
        leases = self._add_keys(self._keys.leases(lease.pool))
        cursors = self._add_keys(self._keys.leased(lease.pool, lease.name))
        rows = chain.from_iterable(map(_position, positions))
        self._section("leased", leases, lease.name, lease.token, cursors, *rows)

    def _rows(self, name: str, rows: Iterable[tuple[Any, ...]]) -> None:
        if args := list(chain.from_iterable(rows)):
            self._section(name, *args)

    def _section(self, name: str, *args: Any) -> None:
        self._args += [name, len(args), *args]
        self._count += 1

    def _add_keys(self, *keys: str) -> int:
        """Add keys, and return the number by which a section refers to the first of them."""
        at = self._first + len(self.keys)
        self.keys += keys
        return at


@cache
def _target_keys(keys: Keys, node: str, target: str) -> tuple[str, tuple[str, ...]]:
    """Return the name of a target queue on this node, and its keys that `send` and `later` need."""
    queue = resolve(target, node)
    return queue, (keys.queue(queue), keys.delayed(queue), keys.books(queue), keys.flow(queue))


def _position(each: Position) -> tuple[str, str, str]:
    return each.name, "*" if each.expected is None else each.expected, each.value or ""


def _change(name: str, change: Change) -> tuple[Any, ...]:
    expected = "*" if change.expected is None else f"={change.expected}"
    return name, expected, "" if change.ttl_s is None else change.ttl_s, change.text
