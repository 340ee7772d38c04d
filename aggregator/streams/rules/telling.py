"""What is asked for, in messages that a queue takes however many rules there are."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from aggregator.streams.messages import Connection

PART_BYTES = 500_000
"""The size of the rules in one message; a message of any kind has at most 1,000,000 bytes."""


def in_parts(connection: Connection) -> Iterator[Connection]:
    """Yield a connection whose rules are few enough for one message, or its first part and the others as changes."""
    part, size = msgspec.structs.replace(connection, rules=(), removed=()), 0
    found: dict[str, list[dict[str, str]]] = {"removed": [], "rules": []}

    def whole() -> Connection:
        return msgspec.structs.replace(part, **{field: tuple(rules) for field, rules in found.items()})

    for field, rules in found.items():
        for rule in getattr(connection, field):
            rule_bytes = len(msgspec.json.encode(rule))
            if size and size + rule_bytes > PART_BYTES:
                yield whole()
                part, size = msgspec.structs.replace(part, continues=True, resumed_from=""), 0
                found["removed"].clear()
                found["rules"].clear()
            size += rule_bytes
            rules.append(rule)
    yield whole()
