"""One rule, as it lies in a Redis hash."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Rule(msgspec.Struct, frozen=True):
    """A rule with all fields that its manager gave it; what nobody here knows travels along."""

    fields: Mapping[str, str]
    listed: bytes
    """Its JSON in `collection_rules`: all of its fields, and its tag and value once more."""

    @property
    def id(self) -> str:
        """The rule's id; unique within its set."""
        return self.fields["rule_id"]

    @property
    def value(self) -> str:
        """What is looked for, as its manager wrote it."""
        return self.fields["value"]

    @property
    def orig_type(self) -> str:
        """How the value is meant: `keyword`, `hashtag`, `userid`, `username`, `geo`; empty when nothing is said."""
        return self.fields.get("orig_type", "")

    @property
    def normal_value(self) -> str:
        """The value in lower case: rules that share it are one phrase for the platform, and have one rate."""
        return self.value.lower()


def rule_of(fields: Mapping[str, str]) -> Rule:
    """Return a rule. Raises ValueError when its id or its value is missing."""
    for name in ("rule_id", "value"):
        if not fields.get(name):
            raise ValueError(f"has no {name}")
    listed = {**fields, "rule_tag": fields.get("tag", ""), "rule_value": fields["value"]}
    return Rule(dict(fields), msgspec.json.encode(listed))


def by_id(rule: Rule) -> tuple[int, str]:
    """Return what rules are sorted by: ids that are numbers by their size, then the others."""
    return (int(rule.id), "") if rule.id.isascii() and rule.id.isdecimal() and len(rule.id) < 20 else (1 << 63, rule.id)
