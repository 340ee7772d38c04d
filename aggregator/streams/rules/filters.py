"""Build what a platform's filter stream is asked for from the rules of a set.

Source: Traptor 4.0.15, `Traptor._make_twitter_rules`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from aggregator.streams.rules.names import LIMITS, ORIG_TYPES
from aggregator.streams.rules.rule import Rule
from aggregator.streams.rules.values import check_value, infer_type, phrase_of, read_geography


class LeftOut(NamedTuple):
    """A rule that the platform is not asked for."""

    rule_id: str
    value: str
    why: str


class Filter(NamedTuple):
    """The parameter of a request: its name is the type of the rule set, its text the phrases with commas between."""

    phrases: tuple[str, ...]
    """Phrases, ids or boxes, each once."""
    left_out: tuple[LeftOut, ...]

    @property
    def text(self) -> str:
        """The text of the parameter; empty when there is nothing to ask for."""
        return ",".join(self.phrases)


def build_filter(type_: str, rules: Sequence[Rule]) -> Filter:
    """Return the filter of a set of this type.

    Rules that mean the same phrase are merged. A comma in a value separates phrases, as it does for the platform. Rules
    that cannot be sent, and those beyond the platform's limit, are left out and named.
    """
    phrases: dict[str, None] = {}
    left_out: list[LeftOut] = []
    for rule in rules:
        try:
            new = [phrase for phrase in _phrases(type_, rule) if phrase not in phrases]
        except ValueError as error:
            left_out.append(LeftOut(rule.id, rule.value, str(error)))
            continue
        if len(phrases) + len(new) > LIMITS[type_]:
            why = f"beyond the {LIMITS[type_]} that one connection may ask for"
            left_out.append(LeftOut(rule.id, rule.value, why))
        else:
            phrases.update(dict.fromkeys(new))
    return Filter(tuple(phrases), tuple(left_out))


def _phrases(type_: str, rule: Rule) -> Iterator[str]:
    """Yield what the platform is asked for because of a rule. Raises ValueError."""
    orig_type = rule.orig_type if rule.orig_type in ORIG_TYPES[type_] else infer_type(type_, rule.value)
    if type_ == "locations":
        yield from map(str, read_geography(rule.value).boxes)
        return
    # a name must have been looked up: the platform follows ids only
    value = check_value("userid" if type_ == "follow" else orig_type, rule.value)
    yield from filter(None, (phrase.strip() for phrase in phrase_of(orig_type, value).split(",")))
