"""Read rule sets from Redis: all rules of a set or none of them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any, NamedTuple

from aggregator.config.redisurl import parse
from aggregator.config.sections import RulesSettings
from aggregator.errors import ConfigError
from aggregator.runtime.connection import AWAY, REFUSED, connect
from aggregator.streams.rules.names import ORIG_TYPES, OWNER, SetName, parse_set_name
from aggregator.streams.rules.rule import Rule, by_id, rule_of

PAGE = 1000
"""How many keys one round trip is about."""


class Stored(NamedTuple):
    """The rules of a set, in the order of their ids, and the rules that are none."""

    rules: tuple[Rule, ...]
    faults: tuple[str, ...]
    """A sentence for each rule that cannot be used, with its key."""


def open_rules(settings: RulesSettings) -> Any:
    """Return a client for the Redis that holds the rules. Raises ConfigError for a cluster and for a wrong address."""
    if settings.url and parse(settings.url).scheme == "cluster":
        words = "a cluster cannot change a rule and its history in one step; give the url of a single Redis"
        raise ConfigError(f"[rules] url: {words}")
    return connect(settings.url)


def read_rules(client: Any, name: SetName) -> Stored:
    """Return all rules of a set. Raises an error of `connection.AWAY` or `REFUSED`; then nothing is returned.

    SCAN may name a key more than once and in any order; here each rule comes once, sorted by id.
    """
    keys = sorted(set(_scan(client, f"{name.prefix}*")))
    rules, faults = [], []
    for key, reply in _replies(client, keys):
        try:
            if fields := _texts(reply):  # without fields the rule was deleted meanwhile
                rules.append(rule_of(fields))
        except ValueError as error:
            faults.append(f"{key.decode('utf-8', 'backslashreplace')} {error}")
    return Stored(tuple(sorted(rules, key=by_id)), tuple(faults))


def owner_of(client: Any, settings: RulesSettings) -> str:
    """Return what marks rules at X as those of this Redis.

    It belongs to the Redis and not to an instance: instances that share their rules see to the same rules at X, and two
    that do not can never take each other's for their own. Whoever needs it first makes it.
    """
    if settings.owner:
        return settings.owner
    client.set(OWNER, secrets.token_hex(4), nx=True)
    return str(client.get(OWNER).decode("utf-8", "replace"))


def set_names(client: Any) -> list[SetName]:
    """Return the sets that have rules or a history."""
    found = set()
    for type_ in ORIG_TYPES:
        for key in _scan(client, f"traptor-{type_}:*"):
            found |= _name_in(key.decode("utf-8", "replace").removeprefix("traptor-").rsplit(":", 1)[0])
    for key in _scan(client, "aggregator-rules-history:*"):
        found |= _name_in(key.decode("utf-8", "replace").partition(":")[2])
    return sorted(found)


def _name_in(text: str) -> set[SetName]:
    try:
        return {parse_set_name(":".join(text.split(":")[:2]))}
    except ValueError:
        return set()


def _scan(client: Any, pattern: str) -> Iterator[bytes]:
    return iter(client.scan_iter(match=pattern, count=PAGE))


def _replies(client: Any, keys: list[bytes]) -> Iterator[tuple[bytes, Any]]:
    for start in range(0, len(keys), PAGE):
        page = keys[start : start + PAGE]
        with client.pipeline(transaction=False) as pipeline:
            for key in page:
                pipeline.hgetall(key)
            replies = pipeline.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, (*AWAY, *REFUSED)):
                raise reply
        yield from zip(page, replies, strict=True)


def hashes(client: Any, keys: list[bytes]) -> Iterator[tuple[bytes, dict[str, str]]]:
    """Yield each key with the fields of its hash; there are none when there is no such key.

    Bytes that are no UTF-8 are escaped. Raises an error of Redis when a key is no hash.
    """
    for key, reply in _replies(client, keys):
        if isinstance(reply, Exception):
            raise reply
        yield key, {_escaped(name): _escaped(value) for name, value in reply.items()}


def _texts(reply: Any) -> dict[str, str]:
    """Return fields as texts. Raises ValueError for what is no hash, and for bytes that are no UTF-8."""
    if isinstance(reply, Exception):
        raise ValueError(f"is no hash of a rule: {reply}")
    return {name.decode(): value.decode() for name, value in reply.items()}


def _escaped(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")
