"""Any value of a real event may be anything else: reading, tables and notices of deletion pass over it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aggregator.streams.exporting.deletions import Deletions
from aggregator.streams.exporting.forms import FORMATS, open_part, reason_against
from aggregator.streams.exporting.notes import Notes
from aggregator.streams.exporting.selection import Line
from aggregator.streams.reading.events import shape_of
from tests.streams.recorded import CHANGES, JETSTREAM, NOON, STATUS, TWEETS

X = (
    b'{"data":{"id":"1","text":"t","author_id":"2","created_at":"2026-08-02T05:25:16.840Z","entities":{"urls":[{}]},'
    b'"referenced_tweets":[{"type":"quoted","id":"3"}],"geo":{"coordinates":{"coordinates":[1.5,2]}},'
    b'"public_metrics":{"like_count":1}},"includes":{"users":[{"id":"2","public_metrics":{}}]}}'
)
NOTICES = (
    b'{"delete":{"status":{"id":1,"id_str":"1"}}}',
    b'{"scrub_geo":{"user_id":815279070241955840,"up_to_status_id_str":"987453193294282752"}}',
    b'{"status_withheld":{"id":77}}',
    b'{"user_withheld":{"id":123456}}',
    b'{"event":"delete","payload":"5"}',
    b'{"did":"d","time_us":5,"kind":"account","account":{"active":false,"status":"deleted"}}',
)
ODD: tuple[Any, ...] = (None, -1, 2**63, 1.5, "", "1", True, [], [None, 1, "a", []], {}, {"id": []})
SAMPLES = {
    "tweet": TWEETS[0],
    "quote": TWEETS[1],
    "retweet": TWEETS[2],
    "x": X,
    "mastodon": b'{"event":"update","payload":' + STATUS + b"}",
    "post": next(line for line in JETSTREAM if b"app.bsky.feed.post" in line and b'"facets"' in line),
    "repost": next(line for line in JETSTREAM if b"app.bsky.feed.repost" in line),
    "deletion": next(line for line in JETSTREAM if b'"delete"' in line),
    "change": CHANGES[0],
    **{f"notice {number}": notice for number, notice in enumerate(NOTICES)},
}


def altered(value: Any) -> Iterator[Any]:
    """Yield a value with each part of it replaced by each odd one."""
    yield from ODD
    if isinstance(value, dict):
        for name, inside in value.items():
            yield {other: found for other, found in value.items() if other != name}
            for change in altered(inside):
                yield {**value, name: change}
    elif isinstance(value, list):
        for at, inside in enumerate(value):
            for change in altered(inside):
                yield [*value[:at], change, *value[at + 1 :]]


@pytest.mark.parametrize("name", SAMPLES)
def test_whatever_an_event_holds_it_is_exported(name: str, tmp_path: Path) -> None:
    parts = {form: open_part(tmp_path / form, form) for form in FORMATS}
    with Notes() as notes:
        deletions = Deletions(notes)
        for notice in NOTICES:
            deletions.note(notice)
        # every seventh, as they are thousands; seven divides no number of changes of a value
        for change in itertools.islice(altered(msgspec.json.decode(SAMPLES[name])), 0, None, 7):
            raw = msgspec.json.encode(change)
            deletions.note(raw)
            line = Line("s", raw, shape_of(raw), NOON)
            fate = deletions.fate_of(raw, line.shape)
            if fate.line is None:
                continue
            line = line._replace(raw=fate.line, shape=shape_of(fate.line))
            for form, part in parts.items():
                if not reason_against(line, form):
                    part.write(line)
    for part in parts.values():
        part.close()
