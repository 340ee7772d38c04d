"""Change rules: in one step with the history of the change and the notice to those who use the set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, Literal, NamedTuple

import msgspec
from redis.exceptions import WatchError

from aggregator.streams.rules.names import SetName
from aggregator.streams.rules.stored import PAGE, hashes

Fields = Mapping[str, str]


class Author(NamedTuple):
    """Who changes rules, and why; the reason may be empty."""

    who: str
    why: str


class Change(msgspec.Struct, frozen=True):
    """One entry of a set's history."""

    at: str
    """UTC, such as 2026-11-28T12:00:00Z."""
    who: str
    why: str
    what: Literal["added", "changed", "removed"]
    rule_id: str
    before: dict[str, str] | None
    """The rule as it was; None when there was none."""
    after: dict[str, str] | None
    """The rule as it is since; None when it is gone."""


class Changer:
    """Changes one set in a Redis; `clock` tells Unix seconds."""

    def __init__(self, client: Any, name: SetName, channel: str, author: Author, clock: Callable[[], float]) -> None:
        self._client, self._name, self._channel, self._author, self._clock = client, name, channel, author, clock

    def put(self, rules: Iterable[Fields], *, only_new: bool = False) -> list[Change]:
        """Write rules, in place of those with the same id; return what changed.

        With `only_new` nothing is written, and ValueError raised, when an id is taken already.
        """
        return self._change({fields["rule_id"]: dict(fields) for fields in rules}, only_new=only_new)

    def remove(self, rule_ids: Iterable[str]) -> list[Change]:
        """Delete rules; return what changed. Ids that there are not change nothing."""
        return self._change(dict.fromkeys(rule_ids))

    def _change(self, wanted: Mapping[str, dict[str, str] | None], *, only_new: bool = False) -> list[Change]:
        """Make rules be as wanted, None for gone; repeated while others change the same rules."""
        keys = {self._name.key(rule_id).encode(): rule_id for rule_id in wanted}
        while keys:
            with self._client.pipeline() as pipeline:
                # order: watch, then read: the step takes effect only if all is still as it was read
                pipeline.watch(*keys)
                before = {keys[key]: fields for key, fields in hashes(self._client, list(keys))}
                if taken := [rule_id for rule_id in wanted if only_new and before[rule_id]]:
                    raise ValueError(f"{self._name} has a rule {taken[0]} already")
                changes = [
                    self._entry(rule_id, before[rule_id], after)
                    for rule_id, after in wanted.items()
                    if before[rule_id] != (after or {})
                ]
                pipeline.multi()
                for change in changes:
                    self._write(pipeline, change)
                if changes:
                    pipeline.publish(self._channel, str(self._name))
                try:
                    pipeline.execute()
                    return changes
                except WatchError:
                    continue
        return []

    def _write(self, pipeline: Any, change: Change) -> None:
        pipeline.delete(self._name.key(change.rule_id))
        if change.after is not None:
            pipeline.hset(self._name.key(change.rule_id), mapping=change.after)
        pipeline.rpush(self._name.history, msgspec.json.encode(change))

    def _entry(self, rule_id: str, before: dict[str, str], after: dict[str, str] | None) -> Change:
        moment = datetime.fromtimestamp(self._clock(), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        what: Literal["added", "changed", "removed"] = "removed" if after is None else "changed" if before else "added"
        return Change(moment, *self._author, what, rule_id, before or None, after)


def used_ids(client: Any, names: Iterable[SetName]) -> set[tuple[SetName, str]]:
    """Return the set and id of each rule that there ever was: an id in a recorded event means one rule for ever."""
    return {(name, change.rule_id) for name in names for change in read_history(client, name)}


def read_history(client: Any, name: SetName) -> Iterator[Change]:
    """Yield the changes to a set, oldest first; entries that others wrote in another form are passed over."""
    return _changes(client.lrange(name.history, 0, -1))


class Setters:
    """Who set each rule of a set as it is, and when, as far as the set's history tells."""

    def __init__(self, name: SetName) -> None:
        self._name = name
        self._number = 0
        """How many entries of the history are known."""
        self._known: dict[str, tuple[str, str, int]] = {}
        """By the rule's id: who set it, when, and the hash of its fields then."""

    def refresh(self, client: Any) -> None:
        """Read what is new in the history. Raises an error of Redis."""
        number = client.llen(self._name.history)
        if number < self._number:  # somebody has emptied or shortened it
            self._number, self._known = 0, {}
        while self._number < number:
            texts = client.lrange(self._name.history, self._number, self._number + PAGE - 1)
            if not texts:
                return
            self._number += len(texts)
            for change in _changes(texts):
                if change.after is None:
                    self._known.pop(change.rule_id, None)
                else:
                    self._known[change.rule_id] = change.who, change.at, _hash(change.after)

    def told(self, fields: Fields) -> dict[str, str]:
        """Return `set_by` and `set_at` of a rule; nothing when its fields have changed without an entry."""
        who, at, known = self._known.get(fields["rule_id"], ("", "", 0))
        return {"set_by": who, "set_at": at} if known == _hash(fields) and who else {}


def _hash(fields: Fields) -> int:
    return hash(frozenset(fields.items()))


def _changes(texts: Iterable[bytes]) -> Iterator[Change]:
    for text in texts:
        try:
            yield msgspec.json.decode(text, type=Change)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
