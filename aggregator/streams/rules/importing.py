"""Decide which rules of a file are new, and which set each of them goes into."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timezone
from itertools import chain, count
from typing import NamedTuple

from aggregator.streams.rules.files import Entry
from aggregator.streams.rules.names import LIMITS, ORIG_TYPES, SetName
from aggregator.streams.rules.rule import Rule
from aggregator.streams.rules.values import check_value, infer_type, phrase_of


class Target(NamedTuple):
    """Where rules go: a set, or with no id as many sets of the type as they need.

    Without a type each rule says it itself, by its key or its `rule_type`.
    """

    type: str
    id: int | None


class Passed(NamedTuple):
    """An entry that is not taken, and why."""

    place: str
    why: str


class Plan(NamedTuple):
    """What an import does."""

    rules: dict[SetName, list[dict[str, str]]]
    """The rules to write, by set."""
    skipped: list[Passed]
    """Entries that mean what another entry or a rule already means."""
    faults: list[Passed]
    """Entries that are no rules."""


class _Meaning(NamedTuple):
    """What makes two rules the same: they stand for one phrase in one set, or in any set of a type."""

    name: SetName | None
    orig_type: str
    phrase: str


class _Wanted(NamedTuple):
    entry: Entry
    named: SetName | None
    fields: dict[str, str]


def check_entry(entry: Entry, target: Target) -> tuple[SetName | None, dict[str, str]]:
    """Return the set that an entry names, None when it is to be chosen, and its fields. Raises ValueError."""
    if entry.fault:
        raise ValueError(entry.fault)
    type_ = target.type or (entry.name.type if entry.name else entry.fields.get("rule_type", ""))
    if type_ not in ORIG_TYPES:
        raise ValueError("for which rule set? Give --into TYPE or TYPE:ID")
    if entry.name is not None and entry.name.type != type_:
        raise ValueError(f"is a rule of {entry.name}")
    value = entry.fields["value"]
    orig_type = entry.fields.get("orig_type") or infer_type(type_, value)
    if orig_type not in ORIG_TYPES[type_]:
        raise ValueError(f"a rule of {type_} cannot be a {orig_type}; allowed: {', '.join(ORIG_TYPES[type_])}")
    fields = {**entry.fields, "value": check_value(orig_type, value), "orig_type": orig_type, "rule_type": type_}
    if target.type:
        return (SetName(type_, target.id) if target.id is not None else None), fields
    return entry.name, fields


def plan(
    entries: Iterable[Entry],
    target: Target,
    present: Mapping[SetName, Iterable[Rule]],
    now: float,
    used: Collection[tuple[SetName, str]] = (),
) -> Plan:
    """Return what importing these entries does to the sets that are there; `now` in Unix seconds.

    `used` are the sets and ids of rules that were there before; no other rule gets such an id.

    Of entries with one meaning the last counts. An entry with the id of a rule in a named set replaces it; any other
    entry is skipped when a rule of the set, or without a named set of the type, means the same already. New rules get
    the next free number of their type as id, and without a named set go into the first set with room: the 5,001st of
    `follow` into follow:1.
    """
    made = Plan({}, [], [])
    wanted: dict[_Meaning, _Wanted] = {}
    for entry in entries:
        try:
            name, fields = check_entry(entry, target)
        except ValueError as error:
            made.faults.append(Passed(entry.place, str(error)))
            continue
        meaning = _Meaning(name, fields["orig_type"], phrase_of(fields["orig_type"], fields["value"]))
        if meaning in wanted:
            earlier = wanted.pop(meaning).entry.place
            made.skipped.append(Passed(earlier, f"means the same as {entry.place}, which counts"))
        wanted[meaning] = _Wanted(entry, name, fields)
    _place(made, wanted, present, now, used)
    return made


def _place(
    made: Plan,
    wanted: Mapping[_Meaning, _Wanted],
    present: Mapping[SetName, Iterable[Rule]],
    now: float,
    used: Collection[tuple[SetName, str]],
) -> None:
    """Give each entry its set and its id, unless a rule that is there means the same."""
    there = {(name, rule.id): rule for name, rules in present.items() for rule in rules}
    known = {
        _Meaning(place, rule.orig_type, phrase_of(rule.orig_type, rule.value)): (name, rule.id)
        for (name, _), rule in there.items()
        for place in (name, None)
    }
    filled = Counter(name for name, _ in there)
    numbers = {type_: count(_next_number(type_, (*there, *used), wanted.values())) for type_ in ORIG_TYPES}
    placed: set[tuple[SetName, str]] = set()
    for meaning, (entry, named, fields) in wanted.items():
        name = named or _with_room(fields["rule_type"], filled)
        rule_id = fields.get("rule_id", "")
        if meaning in known and known[meaning] != (named, rule_id):
            where, same = known[meaning]
            made.skipped.append(Passed(entry.place, f"means the same as rule {same} of {where}"))
            continue
        if (name, rule_id) in placed:
            made.faults.append(Passed(entry.place, f"has the rule_id {rule_id} of an earlier entry"))
            continue
        if not rule_id or (named is None and (name, rule_id) in there):
            rule_id = str(next(numbers[fields["rule_type"]]))
        placed.add((name, rule_id))
        filled[name] += (name, rule_id) not in there
        made.rules.setdefault(name, []).append(completed({**fields, "rule_id": rule_id}, now))


def _next_number(type_: str, there: Iterable[tuple[SetName, str]], wanted: Iterable[_Wanted]) -> int:
    given = (each.fields.get("rule_id", "") for each in wanted if each.fields["rule_type"] == type_)
    return next_id(chain((rule_id for name, rule_id in there if name.type == type_), given))


def completed(fields: Mapping[str, str], now: float) -> dict[str, str]:
    """Return a rule's fields with those that every rule manager writes; `now` in Unix seconds."""
    added = datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    return {"tag": "", "status": "active", "description": "", "date_added": added, **fields}


def _with_room(type_: str, filled: Mapping[SetName, int]) -> SetName:
    number = 0
    while type_ in LIMITS and filled.get(SetName(type_, number), 0) >= LIMITS[type_]:
        number += 1
    return SetName(type_, number)


def next_id(ids: Iterable[str]) -> int:
    """Return the number after the greatest id that is a number."""
    return max((int(each) for each in ids if re.fullmatch("[0-9]{1,18}", each)), default=-1) + 1
