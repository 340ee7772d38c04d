"""What a line of a stream's file is: a post, a deletion, another control message, or something else.

Source: Twitter API v1.1, "Streaming message types" (archived); X API v2, "Filtered stream" (docs.x.com); Mastodon,
"Streaming" (docs.joinmastodon.org); Wikimedia, "EventStreams HTTP Service" (wikitech.wikimedia.org); Bluesky,
"Jetstream" (github.com/bluesky-social/jetstream), and its lexicon network.bsky.jetstream.subscribeEvents.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

from aggregator.streams.halves import without_halves
from aggregator.streams.messages import YEAR_10000_MS
from aggregator.streams.times import moment_of, moment_us_of

Kind = Literal["post", "deletion", "control", "other"]
Object = dict[str, Any]

# numbers with a fraction stay the text that the platform wrote
_DECODER = msgspec.json.Decoder(float_hook=str)
NO_JSON = (msgspec.DecodeError, ValueError, RecursionError)
"""What decoding a line raises when the line is no JSON that can be read."""

_TWITTER_DELETIONS = ("delete", "scrub_geo", "status_withheld", "user_withheld")
_TWITTER_CONTROLS = ("limit", "disconnect", "warning", "friends", "friends_str", "for_user", "control", "event")
_MASTODON_POSTS = ("update", "status.update")
_JETSTREAM_2 = "network.bsky.jetstream.subscribeEvents"
_NOTHING: Object = {}


class Shape(NamedTuple):
    """What is known about a line."""

    platform: str = ""
    """`twitter`, `x`, `mastodon`, `wikimedia` or `bluesky`; empty when it is none of them."""
    kind: Kind = "other"
    id: str = ""
    """What the platform calls the event by, from which it can be had again; empty when it has no such id."""
    key: str = ""
    """What is the same of two copies of one event, and of nothing else; empty when that is not known."""
    at_ms: int | None = None
    """The event's own time, in Unix milliseconds."""
    body: Object = _NOTHING
    """The post or event itself, without what is wrapped around it."""
    whole: Object = _NOTHING
    """All of the line; of the second version of Jetstream in the form of the first."""


def is_object(line: bytes) -> bool:
    """True when a line is one whole JSON object."""
    return line.lstrip().startswith(b"{") and decoded(line) is not None


def decoded(line: bytes) -> Object | None:
    """Return the JSON object on a line, None when there is none; half a character is U+FFFD."""
    try:
        found = _DECODER.decode(line)
    except NO_JSON:
        try:
            found = _DECODER.decode(without_halves(line))
        except NO_JSON:
            return None
    return found if isinstance(found, dict) else None


def shape_of(line: bytes) -> Shape:
    """Return what a line is."""
    found = decoded(line)
    if found is None:
        return Shape()
    for reader in (_typed, _bluesky, _bluesky_2, _wikimedia, _x, _twitter):
        shape = reader(found)
        if shape is not None:
            return shape
    return Shape(whole=found, body=found)


def text_id(value: object) -> str:
    """Return an id as text: ids are texts on some platforms and numbers on others; empty for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def id_of_tweet(status: Object) -> str:
    """Return the id of a tweet, or of a user. Programs that read ids as floats get `id` wrong, so `id_str` counts."""
    return text_id(status.get("id_str")) or text_id(status.get("id"))


def part(value: Object, *names: str) -> Object:
    """Return an object inside an object; an empty one when there is none."""
    for name in names:
        inner = value.get(name)
        if not isinstance(inner, dict):
            return {}
        value = inner
    return value


def _typed(found: Object) -> Shape | None:
    """Read what `record` wrote of a platform that gives a type beside the message."""
    name, payload = found.get("event"), found.get("payload")
    if not isinstance(name, str) or "payload" not in found or len(found) > 3:
        return None if not _is_status(found) else _status(found, found, "update")
    if name == "delete":
        return Shape("mastodon", "deletion", text_id(payload), whole=found)
    if name == "filters_changed":
        return Shape("mastodon", "control", whole=found)
    # Mastodon's WebSocket has the payload as a text
    body = decoded(payload.encode(errors="replace")) if isinstance(payload, str) else payload
    if not isinstance(body, dict):
        return Shape(whole=found)
    if name in _MASTODON_POSTS and _is_status(body):
        return _status(found, body, name)
    return Shape(whole=found, body=body, at_ms=moment_of(body.get("created_at")))


def _is_status(body: Object) -> bool:
    return isinstance(body.get("account"), dict) and "content" in body and bool(text_id(body.get("id")))


def _status(found: Object, body: Object, name: str) -> Shape:
    edited = body.get("edited_at")
    id_ = text_id(body.get("id"))
    # the id is the server's, the uri the same on all servers; an edit is an event of its own
    key = f"mastodon {body.get('uri') or id_} {edited or ''}"
    at_ms = moment_of(edited) if name == "status.update" and edited else moment_of(body.get("created_at"))
    return Shape("mastodon", "post", id_, key, at_ms, body, found)


def _bluesky(found: Object) -> Shape | None:
    did, time_us = found.get("did"), found.get("time_us")
    if not isinstance(did, str) or not isinstance(found.get("kind"), str):
        return None
    at_ms = time_us // 1000 if isinstance(time_us, int) and 0 <= time_us < YEAR_10000_MS * 1000 else None
    commit = part(found, "commit")
    if not commit:
        account = part(found, "account")
        is_over = account.get("active") is False and account.get("status") in ("deleted", "takendown")
        key = f"bluesky {did} {found['kind']} {time_us}"
        return Shape("bluesky", "deletion" if is_over else "other", "", key, at_ms, account, found)
    uri = f"at://{did}/{commit.get('collection')}/{commit.get('rkey')}"
    key = f"bluesky {uri} {commit.get('rev')} {commit.get('operation')}"
    if commit.get("operation") == "delete":
        return Shape("bluesky", "deletion", uri, key, at_ms, commit, found)
    is_post = commit.get("collection") in ("app.bsky.feed.post", "app.bsky.feed.repost")
    return Shape("bluesky", "post" if is_post else "other", uri, key, at_ms, part(commit, "record"), found)


def _bluesky_2(found: Object) -> Shape | None:
    """Read an event of the second version: what the first has in `commit` stands beside the account there."""
    payload = part(found, "payload")
    type_, _, kind = str(payload.get("$type")).partition("#")
    if type_ != _JETSTREAM_2:
        return None
    time_us = moment_us_of(payload.get("witnessedAt") or payload.get("time"))
    first = {**payload, "kind": kind, "time_us": time_us, **({"commit": payload} if kind == "commit" else {})}
    # without an account it is a notice of the server
    return _bluesky(first) or Shape("bluesky", "control", whole=found)


def _wikimedia(found: Object) -> Shape | None:
    meta = part(found, "meta")
    id_ = meta.get("id")
    if not isinstance(id_, str) or not ("stream" in meta or "dt" in meta):
        return None
    return Shape("wikimedia", "other", id_, f"wikimedia {id_}", moment_of(meta.get("dt")), found, found)


def _x(found: Object) -> Shape | None:
    data = part(found, "data")
    id_ = text_id(data.get("id"))
    if not id_ or "text" not in data:
        errors = found.get("errors")
        return Shape("x", "control", whole=found) if isinstance(errors, list) and len(found) <= 2 else None
    return Shape("x", "post", id_, f"tweet {id_}", moment_of(data.get("created_at")), data, found)


def _twitter(found: Object) -> Shape | None:
    if len(found) == 1:
        name, value = next(iter(found.items()))
        if name in _TWITTER_DELETIONS and isinstance(value, dict):
            sent_ms = _number(text_id(value.get("timestamp_ms")))
            return Shape("twitter", "deletion", at_ms=sent_ms, body=value, whole=found)
        if name in _TWITTER_CONTROLS:
            return Shape("twitter", "control", whole=found)
        return None
    id_ = id_of_tweet(found)
    if not id_ or "user" not in found or not ("text" in found or "full_text" in found):
        return None
    at_ms = _number(text_id(found.get("timestamp_ms")))
    at_ms = moment_of(found.get("created_at")) if at_ms is None else at_ms
    return Shape("twitter", "post", id_, f"tweet {id_}", at_ms, found, found)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 15 else None
