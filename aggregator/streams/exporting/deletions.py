"""What platforms took back: which notices there are, and what they do to the events that are exported.

Source: Twitter API v1.1, "Streaming message types": status deletion notices, location deletion notices, withheld
content notices (archived); Mastodon, "Streaming" (docs.joinmastodon.org); Bluesky, "Jetstream".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from aggregator.streams.exporting.notes import FOREVER, NEVER, Notes
from aggregator.streams.halves import read_json
from aggregator.streams.reading.events import Object, Shape, id_of_tweet, part, shape_of, text_id

_HINT = re.compile(rb"delete|scrub_geo|withheld|takendown")
_GEO = ("geo", "coordinates", "place")
_INSIDE = ("retweeted_status", "quoted_status")
_DEEPEST = 3
"""How many tweets lie inside one another: a retweet, what it repeats, and what that quotes."""
_NULL = msgspec.Raw(b"null")


class Fate(NamedTuple):
    """What becomes of an event."""

    line: bytes | None
    """What is exported of it; None when nothing is."""
    reason: str = ""
    """Why it is not exported, or what was taken from it; empty when it is exported as it is."""


class Deletions:
    """The notices of streams. All are noted first, as a notice may come years after its event."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def note(self, line: bytes) -> None:
        """Note what a line takes back, if it is such a notice."""
        if not _HINT.search(line):
            return
        shape = shape_of(line)
        if shape.kind == "deletion":
            for key, up_to in _marks_of(shape):
                self._notes.mark(key, up_to)

    def fate_of(self, line: bytes, shape: Shape) -> Fate:
        """Return what becomes of an event."""
        if shape.kind not in ("post", "other") or not self._notes.marks:
            return Fate(line)
        if shape.platform == "twitter":
            return self._tweet(line, shape.body)
        if shape.platform == "x":
            return self._left(line, f"tweet {shape.id}") or self._withheld(line, shape) or Fate(line)
        if shape.platform == "mastodon":
            boosted = text_id(part(shape.body, "reblog").get("id"))
            return self._left(line, f"toot {shape.id}") or self._left(line, f"toot {boosted}") or Fate(line)
        if shape.platform == "bluesky":
            # a record may be made anew under the name of one that was deleted
            return self._bluesky(line, shape)
        return Fate(line)

    def _left(self, line: bytes, key: str) -> Fate | None:
        return Fate(None, "deleted") if self._notes.marked(key) != NEVER else None

    def _withheld(self, line: bytes, shape: Shape) -> Fate | None:
        author = text_id(shape.body.get("author_id"))
        keys = (f"withheld {shape.id}", f"withheld user {author}")
        return Fate(None, "withheld") if any(self._notes.marked(key) != NEVER for key in keys) else None

    def _bluesky(self, line: bytes, shape: Shape) -> Fate:
        time_us = shape.whole.get("time_us")
        moment = time_us if isinstance(time_us, int) else 0
        is_gone = any(self._notes.marked(f"at {name}") >= moment for name in (shape.id, shape.whole["did"]))
        return Fate(None, "deleted") if is_gone else Fate(line)

    def _tweet(self, line: bytes, status: Object) -> Fate:
        reason = self._reason(status)
        if reason:
            return Fate(None, reason)
        edited = self._edited(line, status, _DEEPEST)
        return Fate(line) if edited == line else Fate(edited, "changed")

    def _reason(self, status: Object) -> str:
        """Return why a tweet is not exported. A retweet consists of the tweet that it repeats."""
        for found in (status, part(status, "retweeted_status")):
            id_, author = id_of_tweet(found), id_of_tweet(part(found, "user"))
            if self._notes.marked(f"tweet {id_}") != NEVER:
                return "deleted"
            if any(self._notes.marked(key) != NEVER for key in (f"withheld {id_}", f"withheld user {author}")):
                return "withheld"
        return ""

    def _edited(self, text: bytes, status: Object, depth: int) -> bytes:
        """Return a tweet without what was taken back of it; all values that stay keep their bytes."""
        fields: dict[str, msgspec.Raw] | None = None
        if self._is_scrubbed(status):
            fields = _fields(text)
            fields |= {name: _NULL for name in _GEO if name in fields}
        for name in _INSIDE:
            inside = part(status, name)
            if not inside or not depth:
                continue
            before = bytes(_fields(text)[name])
            after = b"null" if self._reason(inside) else self._edited(before, inside, depth - 1)
            if after != before:
                fields = _fields(text) if fields is None else fields
                fields[name] = msgspec.Raw(after)
        return text if fields is None else msgspec.json.encode(fields)

    def _is_scrubbed(self, status: Object) -> bool:
        if not any(status.get(name) for name in _GEO):
            return False
        id_, author = id_of_tweet(status), id_of_tweet(part(status, "user"))
        return _status_number(id_) <= self._notes.marked(f"geo {author}")


def _fields(text: bytes) -> dict[str, msgspec.Raw]:
    fields: dict[str, msgspec.Raw] = read_json(text, dict[str, msgspec.Raw])
    return fields


def _marks_of(shape: Shape) -> Iterator[tuple[str, int]]:
    """Yield what a notice takes back, and up to which number: a status, or a moment of Bluesky's."""
    if shape.platform == "mastodon":
        yield f"toot {shape.id}", FOREVER
    elif shape.platform == "bluesky":
        time_us = shape.whole.get("time_us")
        yield f"at {shape.id or shape.whole['did']}", time_us if isinstance(time_us, int) else FOREVER
    elif "delete" in shape.whole:
        yield f"tweet {id_of_tweet(part(shape.body, 'status'))}", FOREVER
    elif "status_withheld" in shape.whole:
        yield f"withheld {text_id(shape.body.get('id'))}", FOREVER
    elif "user_withheld" in shape.whole:
        yield f"withheld user {text_id(shape.body.get('id'))}", FOREVER
    elif "scrub_geo" in shape.whole:
        last = text_id(shape.body.get("up_to_status_id_str")) or text_id(shape.body.get("up_to_status_id"))
        author = text_id(shape.body.get("user_id_str")) or text_id(shape.body.get("user_id"))
        yield f"geo {author}", _status_number(last)


def _status_number(id_: str) -> int:
    """Return an id as the number that tells which tweet came first."""
    return int(id_) if id_.isascii() and id_.isdigit() and len(id_) < 20 else FOREVER
