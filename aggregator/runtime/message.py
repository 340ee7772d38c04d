"""A message as a stage sees it, and as it is stored in Redis.

In its queue a message is bare JSON. A message that was tried before carries its history in front:
``!{"id":7,"attempts":2,…}\\n{…the body, byte for byte…}``. A message that begins in this way in its queue is somebody
else's; an empty history is put in front of it when it is taken, so that nobody believes the one it brought.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

import msgspec
import simplejson

from aggregator.errors import Reject

MARK = b"!"
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
_encode = simplejson.JSONEncoder(separators=(",", ":")).encode


class History(msgspec.Struct, omit_defaults=True):
    """What happened to a message so far; times are Unix seconds."""

    id: Count = 0
    attempts: Count = 0
    """How often a stage tried the message and failed."""
    deliveries: Count = 0
    """How often a worker vanished while holding the message."""
    first: float = 0.0
    """When the message first failed."""
    error: str = ""
    trace: str = ""
    worker: str = ""
    """The worker that set the message aside."""
    died: float = 0.0
    """When the message was set aside."""
    kept: str = ""
    """The text that the stage wants to find again at its next try."""


class Message(msgspec.Struct, gc=False):
    """One entry of a queue. `raw` is the JSON text as it was pushed, `entry` the whole text that stands in `held`."""

    entry: bytes
    raw: bytes
    history: History | None = None
    decoded: dict[str, Any] | None = None

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object. Raises Reject when `raw` is something else."""
        if self.decoded is None:
            self.decoded = decode_body(self.raw)
        return self.decoded

    @property
    def attempts(self) -> int:
        """How often this message was tried before."""
        return self.history.attempts if self.history else 0

    @property
    def kept(self) -> str:
        """The text that the stage kept at the previous try; empty when there was none."""
        return self.history.kept if self.history else ""

    def text(self, key: str) -> str:
        """Return the text under a key of the body. Raises Reject when it is missing or no text."""
        value = self.body.get(key)
        if not isinstance(value, str):
            raise Reject(f"the message has no text under {key!r} (found {type(value).__name__})")
        return value


def decode_body(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in `raw`. Raises Reject when there is none."""
    try:
        body = simplejson.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Reject(f"not JSON: {error} (found {raw[:60]!r})") from error
    if not isinstance(body, dict):
        raise Reject(f"not a JSON object (found {raw[:60]!r})")
    return body


def encode_body(body: Mapping[str, Any]) -> bytes:
    """Return the JSON text of a body: ASCII, one line, no spaces."""
    text: str = _encode(body)
    return text.encode("ascii")


def read_entry(entry: bytes) -> Message:
    """Return the message in an entry of `held`."""
    if not entry.startswith(MARK):
        return Message(entry, entry)
    header, newline, raw = entry[1:].partition(b"\n")
    try:
        history = msgspec.json.decode(header, type=History)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Message(entry, entry)  # a foreign text that only looks like a history: decoding will reject it
    return Message(entry, raw, history) if newline else Message(entry, entry)


def ascii_text(text: str) -> str:
    """Return a text with all but ASCII escaped: Lua knows no broken Unicode, Redis takes no odd bytes of file names."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


def write_history(history: History) -> bytes:
    """Return the header that stands in front of a body."""
    return MARK + msgspec.json.encode(history) + b"\n"
