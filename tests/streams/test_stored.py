"""Reading rule sets, and what a section that uses them depends on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.client import Redis
from redis.exceptions import ConnectionError

from aggregator.config.loading import load
from aggregator.streams.rules.changes import Author, Changer, Setters
from aggregator.streams.rules.names import SetName, parse_set_name
from aggregator.streams.rules.stored import read_rules, set_names
from aggregator.supervision.digests import digest_of_program


class Repeating:
    """A client whose SCAN names keys again and again, in any order, and may break off."""

    def __init__(self, client: Redis, breaks_off: bool = False) -> None:
        self._client = client
        self._breaks_off = breaks_off

    def scan_iter(self, **options: Any) -> Iterator[bytes]:
        keys = list(self._client.scan_iter(**options))
        yield from (*reversed(keys), *keys)
        if self._breaks_off:
            raise ConnectionError("gone")

    def pipeline(self, **options: Any) -> Any:
        return self._client.pipeline(**options)


@pytest.fixture
def written(redis_client: Redis, set_name: SetName) -> SetName:
    """A set of rules with ids that are numbers and others."""
    for rule_id in ("10", "9", "b", "a", "100"):
        redis_client.hset(set_name.key(rule_id), mapping={"rule_id": rule_id, "value": f"v{rule_id}", "x": "kept"})
    return set_name


def test_each_rule_comes_once_with_all_of_its_fields_sorted_by_id(redis_client: Redis, written: SetName) -> None:
    stored = read_rules(Repeating(redis_client), written)

    assert [rule.id for rule in stored.rules] == ["9", "10", "100", "a", "b"]
    assert stored.rules[0].fields == {"rule_id": "9", "value": "v9", "x": "kept"}


def test_of_a_set_whose_reading_breaks_off_nothing_is_read(redis_client: Redis, written: SetName) -> None:
    with pytest.raises(ConnectionError):
        read_rules(Repeating(redis_client, breaks_off=True), written)


def test_who_set_a_rule_is_known_while_it_is_as_it_was_set(redis_client: Redis, set_name: SetName) -> None:
    def change(who: str) -> Changer:
        return Changer(redis_client, set_name, "c", Author(who, ""), lambda: 0.0)

    def set_by(rule: dict[str, str]) -> str | None:
        setters.refresh(redis_client)
        return setters.told(rule).get("set_by")

    setters = Setters(set_name)
    rules = [{"rule_id": str(number), "value": "cats"} for number in range(2500)]
    change("ann").put(rules)
    assert {set_by(rule) for rule in rules[::500]} == {"ann"}
    assert set_by({**rules[0], "value": "dogs"}) is None  # somebody wrote it without an entry

    dogs = {"rule_id": "0", "value": "dogs"}
    change("bob").put([dogs])
    change("bob").remove(["1"])
    assert [set_by(rule) for rule in (dogs, *rules[:3])] == ["bob", None, None, "ann"]

    redis_client.delete(set_name.history)
    assert set_by(dogs) is None
    change("eve").put([{**dogs, "tag": "t"}])
    assert set_by({**dogs, "tag": "t"}) == "eve"


def test_a_set_is_known_by_its_rules_or_by_its_history(redis_client: Redis, written: SetName) -> None:
    other = SetName("follow", written.id)
    redis_client.rpush(other.history, "{}")

    assert {written, other} <= set(set_names(redis_client))


@pytest.mark.parametrize("text", ["", "track", "track:", "track:x", "tracks:0", "track:0:1", "track:-1", "follow: 1"])
def test_a_name_of_a_set_has_a_type_and_a_number(text: str) -> None:
    with pytest.raises(ValueError):
        parse_set_name(text)


def test_a_change_of_where_rules_are_restarts_those_that_read_them_alone(tmp_path: Path) -> None:
    def digests(rules: str) -> list[str]:
        text = f"""[redis]\nurl = redis://localhost/0\n{rules}
            [worker_match]\nstage = match\nlistento = a\npushto = b\nrules = track:0
            [worker_copy]\nstage = tests.samplestages:Copier\nlistento = b\nfanout = c\n"""
        (tmp_path / "loglines.cfg").write_text("\n".join(line.strip() for line in text.splitlines()))
        config = load(tmp_path / "loglines.cfg", tmp_path)
        return [digest_of_program(config, program) for program in config.programs.values()]

    before, after = digests(""), digests("[rules]\nurl = redis://elsewhere/5\n")

    assert before[0] != after[0]
    assert before[1] == after[1]


def test_rules_lie_in_the_instances_own_redis_unless_another_is_named(tmp_path: Path) -> None:
    file = tmp_path / "loglines.cfg"
    file.write_text("[redis]\nurl = redis://localhost/3\n")
    assert load(file, tmp_path).rules.url == "redis://localhost/3"

    file.write_text("[redis]\nurl = redis://localhost/3\n[rules]\nurl = redis://elsewhere\nnotify_channel = c\n")
    assert load(file, tmp_path).rules.url == "redis://elsewhere"
    assert load(file, tmp_path).rules.notify_channel == "c"
