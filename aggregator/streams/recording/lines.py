"""The line that stands for a message in a stream's files."""

from __future__ import annotations

import msgspec

from aggregator.streams.messages import Event, Gap


def line_of(message: Event | Gap) -> bytes:
    """Return a message as a line, with its line break.

    An event of a platform that gives no types is the platform's own text, byte for byte. An event with a type, such as
    Mastodon's, is an object with `event` (the type) and `payload`, as Mastodon's WebSocket writes it: the text alone
    does not say whether it is a post or a deletion.
    """
    if isinstance(message, Gap):
        return msgspec.json.encode(message) + b"\n"
    if message.type and message.type != "message":
        payload = message.text if message.text else message.event
        return msgspec.json.encode({"event": message.type, "payload": payload}) + b"\n"
    if message.text:
        return message.text.replace("\r", " ").replace("\n", " ").encode() + b"\n"
    return bytes(message.event) + b"\n"
