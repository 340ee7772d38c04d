"""What the control messages of a platform mean for the completeness of its stream.

Source: Twitter API v1.1, "Streaming message types" (developer.twitter.com, archived); X API v2, "Handling
disconnections" (docs.x.com); Jetstream, the lexicon network.bsky.jetstream.subscribeEvents.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from aggregator.http.urls import printable

_MARKS = (b'"limit"', b'"disconnect"', b'"errors"')
_HEAD_BYTES = 200
"""Jetstream says at the beginning of a message what it is; to search all of every event would cost time."""
_MOST_BYTES = 4096
"""Control messages are short; a longer message is an event that happens to have one of the words."""
_DISCONNECTS = {
    "1": "shutdown", "2": "duplicate stream", "3": "control request", "4": "stall", "5": "normal", "6": "token revoked",
    "7": "admin logout", "9": "max message limit", "10": "stream exception", "11": "broker stall", "12": "shed load",
}  # fmt: skip
"""What the codes of Twitter's disconnect messages mean, which do not always give a reason."""


class Meaning(NamedTuple):
    """What a control message says."""

    withheld: int | None = None
    """How many events were withheld since the connection was made."""
    farewell: str = ""
    """Why the platform is about to close the connection, in its own words."""
    late: str = ""
    """Why the platform did not go on where it was asked to, in its own words."""


def meaning_of(type_: str, data: bytes) -> Meaning | None:
    """Return what a message of a platform means, None when it is no control message that matters here."""
    if type_ == "jetstream":
        return _jetstream(data)
    if type_ not in ("twitter_v1", "x_v2") or len(data) > _MOST_BYTES or not any(mark in data for mark in _MARKS):
        return None
    try:
        message = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return None
    if not isinstance(message, dict) or len(message) > 2:
        return None
    if type_ == "twitter_v1":
        return _twitter(message)
    errors = message.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else None
    return Meaning(farewell=_words(first, "title", "detail")) if first is not None and "data" not in message else None


def _twitter(message: dict[str, Any]) -> Meaning | None:
    limit, farewell = message.get("limit"), message.get("disconnect")
    if isinstance(limit, dict) and isinstance(limit.get("track"), int):
        return Meaning(withheld=max(limit["track"], 0))
    if isinstance(farewell, dict):
        named = {"reason": _DISCONNECTS.get(str(farewell.get("code")), ""), **{k: v for k, v in farewell.items() if v}}
        return Meaning(farewell=_words(named, "code", "stream_name", "reason"))
    return None


def _jetstream(data: bytes) -> Meaning | None:
    head = data[:_HEAD_BYTES]
    if len(data) > _MOST_BYTES or not (b'"error"' in head or b'#info"' in head):
        return None
    try:
        message = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return None
    if not isinstance(message, dict):
        return None
    payload = message.get("payload")
    if message.get("$type") == "error":
        return Meaning(farewell=_words(message, "error", "message"))
    if isinstance(payload, dict) and str(payload.get("$type")).endswith("subscribeEvents#info"):
        return Meaning(late=_words(payload, "name", "message"))
    return None


def _words(message: dict[str, Any], *names: str) -> str:
    words = [printable(str(message[name])) for name in names if message.get(name) not in (None, "")]
    return " ".join(words) or "no reason given"


def is_canary(data: bytes) -> bool:
    """True for an event that Wikimedia sends to itself, to see that its streams work; `meta.domain` says so.

    Source: "EventStreams HTTP Service" (wikitech.wikimedia.org).
    """
    if b"canary" not in data:
        return False
    try:
        meta = msgspec.json.decode(data, type=_WithMeta).meta
    except msgspec.DecodeError:
        return False
    return meta is not None and meta.domain == "canary"


class _Meta(msgspec.Struct):
    domain: str = ""


class _WithMeta(msgspec.Struct):
    meta: _Meta | None = None
