"""Put what matched into an event's JSON text, and leave every other byte as the platform sent it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import simplejson

from aggregator.errors import Reject
from aggregator.streams.rules.names import SetName
from aggregator.streams.rules.rule import Rule

NOT_FOUND = "Not Found"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CREATED = re.compile(r"\w{3} (\w{3}) (\d\d) (\d\d:\d\d:\d\d) ([+-]\d\d)(\d\d) (\d{4})", re.ASCII)


def read_tweet(text: bytes) -> dict[str, Any] | None:
    """Return a tweet to look at; None for what is no tweet, because it has no `id_str`.

    Raises Reject for what is no JSON. Numbers may be rounded here, so nothing is written from this.
    """
    try:
        event = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            event = simplejson.loads(text)  # it takes numbers such as 1e999, which msgspec refuses
        except (ValueError, RecursionError) as error:
            raise Reject(f"an event that is no JSON: {error} (found {text[:60]!r})") from error
    return event if isinstance(event, dict) and isinstance(event.get("id_str"), str) else None


def annotate(text: bytes, tweet: Mapping[str, Any], name: SetName, matched: Sequence[Rule]) -> bytes:
    """Return the text of a tweet with the member `traptor`; `matched` are the rules that it matches.

    Without a match `collection_rules` is empty, and the set is named instead. A member `traptor` that the tweet has
    already is replaced.
    """
    facts: dict[str, Any] = {"id_str": tweet["id_str"]}
    if created := _iso_time(tweet.get("created_at")):
        facts["created_at_iso"] = created
    facts["collection_rules"] = msgspec.Raw(b"[" + b",".join([rule.listed for rule in matched]) + b"]")
    if not matched:
        facts |= {"rule_type": name.type, "id": name.id, "rule_tag": NOT_FOUND, "rule_value": NOT_FOUND}
    if "traptor" in tweet:
        text = _without_traptor(text)
    # a tweet has members, so a comma separates the new one from them
    return b'%b,"traptor":%b}' % (text.rstrip()[:-1], msgspec.json.encode(facts))


def _without_traptor(text: bytes) -> bytes:
    members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    del members["traptor"]
    return msgspec.json.encode(members)


def _iso_time(created_at: Any) -> str:
    """Return `Mon Feb 22 01:34:53 +0000 2016` as `2016-02-22T01:34:53+00:00`; nothing for what has another form."""
    match = _CREATED.fullmatch(created_at) if isinstance(created_at, str) else None
    if match is None or match[1] not in _MONTHS:
        return ""
    month, day, clock, hours, minutes, year = match.groups()
    return f"{year}-{_MONTHS.index(month) + 1:02}-{day}T{clock}{hours}:{minutes}"
