"""Say how many connections rules need: one for each set, and further ones for rules that no set has room for.

A rule that its set has room for is never moved, so a further rule, or one that goes, changes no other connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from typing import NamedTuple

from aggregator.streams.rules.filters import LeftOut, build_filter
from aggregator.streams.rules.names import LIMITS, SetName
from aggregator.streams.rules.rule import Rule


class Shard(NamedTuple):
    """What one connection is asked for."""

    name: SetName
    rules: int
    """How many rules of the set it serves."""
    phrases: int
    """How many phrases, ids or boxes that makes."""
    overflow: int
    """How many rules of other sets, for which those have no room, could be served besides; they are in `phrases`."""


class Sharding(NamedTuple):
    """The connections, by type and number, and the rules that no platform can be asked for."""

    shards: tuple[Shard, ...]
    unusable: tuple[tuple[SetName, LeftOut], ...]


class _Filling:
    def __init__(self, phrases: Iterable[str] = (), rules: int = 0) -> None:
        self.phrases = set(phrases)
        self.rules = rules
        self.overflow = 0


def shard(sets: Mapping[SetName, Iterable[Rule]]) -> Sharding:
    """Return the connections that these sets need."""
    fillings: dict[SetName, _Filling] = {}
    beyond: list[tuple[SetName, set[str]]] = []
    unusable: list[tuple[SetName, LeftOut]] = []
    for name in sorted(sets):
        rules = {rule.id: rule for rule in sets[name]}
        found = build_filter(name.type, list(rules.values()))
        if found.phrases:
            fillings[name] = _Filling(found.phrases, len(rules) - len(found.left_out))
        for left in found.left_out:
            alone = build_filter(name.type, [rules[left.rule_id]]).phrases
            if alone:
                beyond.append((name, set(alone)))
            else:
                unusable.append((name, left))
    for name, phrases in beyond:
        place = _with_room(name.type, phrases, fillings)
        filling = fillings.setdefault(place, _Filling())
        filling.phrases |= phrases
        filling.overflow += 1
    shards = (Shard(name, each.rules, len(each.phrases), each.overflow) for name, each in sorted(fillings.items()))
    return Sharding(tuple(shards), tuple(unusable))


def _with_room(type_: str, phrases: set[str], fillings: Mapping[SetName, _Filling]) -> SetName:
    for number in count():
        name = SetName(type_, number)
        if name not in fillings or len(fillings[name].phrases | phrases) <= LIMITS[type_]:
            return name
    raise AssertionError("numbers never end")
