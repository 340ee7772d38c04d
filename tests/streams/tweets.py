"""The tweets and rules that tests share; tests/data/streams/SOURCES.md says where they come from."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from aggregator.streams.rules.rule import Rule, rule_of

FOLDER = Path(__file__).parents[1] / "data" / "streams"


class Sample(msgspec.Struct):
    """A tweet, byte for byte but for the blanks between its tokens, and the file that it comes from."""

    source: str = msgspec.field(name="from")
    tweet: msgspec.Raw

    @property
    def raw(self) -> bytes:
        """The JSON text."""
        return bytes(self.tweet)


@cache
def samples() -> list[Sample]:
    """Return all tweets."""
    lines = gzip.decompress((FOLDER / "tweets.jsonl.gz").read_bytes()).splitlines()
    return [msgspec.json.decode(line, type=Sample) for line in lines]


def tweet(source: str) -> bytes:
    """Return the tweet of one file."""
    return next(sample.raw for sample in samples() if sample.source == source)


def table(name: str) -> Any:
    """Return a table of cases."""
    return json.loads((FOLDER / name).read_text())


def rule(rule_id: str, value: str, orig_type: str = "keyword", **fields: str) -> Rule:
    """Return a rule; without `orig_type` when that is empty."""
    named = {"orig_type": orig_type} if orig_type else {}
    return rule_of({"rule_id": rule_id, "value": value, **named, **fields})
