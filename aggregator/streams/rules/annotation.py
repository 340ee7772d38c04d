"""Put what matched into an event's JSON text, and leave every other byte as the platform sent it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from aggregator.streams.halves import read_json
from aggregator.streams.rules.names import SetName
from aggregator.streams.rules.rule import Rule
from aggregator.streams.rules.tweets import Tweet

NOT_FOUND = "Not Found"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CREATED = re.compile(r"\w{3} (\w{3}) (\d\d) (\d\d:\d\d:\d\d) ([+-]\d\d)(\d\d) (\d{4})", re.ASCII)


def annotate(text: bytes, tweet: Tweet, name: SetName, matched: Sequence[Rule]) -> bytes:
    """Return the text of a tweet with the member `traptor`; `matched` are the rules that it matches.

    Without a match `collection_rules` is empty, and the set is named instead. A member `traptor` that the tweet has
    already is replaced.
    """
    facts: dict[str, Any] = {"id_str": tweet.id_str}
    if created := _iso_time(tweet.created_at):
        facts["created_at_iso"] = created
    facts["collection_rules"] = msgspec.Raw(b"[" + b",".join([rule.listed for rule in matched]) + b"]")
    if not matched:
        facts |= {"rule_type": name.type, "id": name.id, "rule_tag": NOT_FOUND, "rule_value": NOT_FOUND}
    if b'"traptor"' in text:
        text = _without_traptor(text)
    # a tweet has members, so a comma separates the new one from them
    return b'%b,"traptor":%b}' % (text.rstrip()[:-1], msgspec.json.encode(facts))


def _without_traptor(text: bytes) -> bytes:
    """Return a tweet without its own member of this name, if it has one; the word may stand elsewhere in it."""
    members = read_json(text, dict[str, msgspec.Raw])
    return msgspec.json.encode(members) if members.pop("traptor", None) is not None else text


def _iso_time(created_at: str | None) -> str:
    """Return `Mon Feb 22 01:34:53 +0000 2016` as `2016-02-22T01:34:53+00:00`; nothing for what has another form."""
    match = _CREATED.fullmatch(created_at or "")
    if match is None or match[1] not in _MONTHS:
        return ""
    month, day, clock, hours, minutes, year = match.groups()
    return f"{year}-{_MONTHS.index(month) + 1:02}-{day}T{clock}{hours}:{minutes}"
