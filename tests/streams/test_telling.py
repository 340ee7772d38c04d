"""What is asked for goes through a queue however many rules there are."""

from __future__ import annotations

from functools import reduce

import pytest

from aggregator.runtime.kinds import MOST_BYTES, decode, encode
from aggregator.streams.messages import Connection
from aggregator.streams.rules.telling import in_parts


def rules(number: int, size: int) -> tuple[dict[str, str], ...]:
    return tuple({"rule_id": str(n), "value": "x" * size} for n in range(number))


def connection(came: tuple[dict[str, str], ...], removed: tuple[dict[str, str], ...] = ()) -> Connection:
    told = {"rules": came, "removed": removed, "continues": bool(removed), "resumed_from": "" if removed else "7"}
    return Connection(stream="s", at_ms=1, type="x_v2", url="http://x.org/", **told)


@pytest.mark.parametrize("number", [0, 1, 1000, 5000])
def test_the_parts_of_a_connection_are_the_connection(number: int) -> None:
    whole = connection(rules(number, 1000))

    parts = [decode(encode(part), Connection) for part in in_parts(whole)]

    assert reduce(Connection.after, parts) == whole
    assert all(len(encode(part)) < MOST_BYTES for part in parts)
    assert [part.continues for part in parts] == [False] + [True] * (len(parts) - 1)


def test_a_change_that_takes_all_rules_away_and_brings_as_many_does_both() -> None:
    before = connection(rules(2000, 1000))
    change = connection(rules(2000, 1001), before.rules)

    parts = list(in_parts(change))

    assert len(parts) > 2
    assert reduce(Connection.after, parts, before).rules == change.rules
