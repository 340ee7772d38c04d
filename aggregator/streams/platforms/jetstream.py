"""Bluesky's Jetstream: what its messages say of their time, and the dictionary that they are packed with.

Source: github.com/bluesky-social/jetstream: README.md (`/subscribe`), and the lexicons
network.bsky.jetstream.subscribeEvents and network.bsky.jetstream.getZstdDictionary.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from aggregator.http.framing import Broken
from aggregator.http.packings import MAX_ZSTD_WINDOW
from aggregator.streams.overlap import KEY_BYTES
from aggregator.streams.platforms.limits import split
from aggregator.streams.platforms.table import JETSTREAM_V2

SUBPROTOCOL = "xrpc.v1.json"
DICTIONARY = "/xrpc/network.bsky.jetstream.getZstdDictionary"
LARGEST_DICTIONARY = 4 * 1024**2
REWIND_US = 5_000_000
"""A connection begins this long before the newest event: events do not come in the order of their times."""
_FUTURE_US = 60_000_000
"""A time this far ahead of our own clock is wrong, and nothing goes on behind it."""
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_US = timedelta(microseconds=1)
_MAGIC = (0xEC30A437).to_bytes(4, "little")
"""How a dictionary begins that has a number. Source: RFC 8878, section 5."""


class _Payload(msgspec.Struct):
    type: str = msgspec.field(name="$type", default="")
    time: datetime | None = None
    witnessed: datetime | None = msgspec.field(name="witnessedAt", default=None)
    name: str = ""
    message: str = ""


class _Message(msgspec.Struct):
    time_us: int = 0
    """The time of an event of the first version."""
    payload: _Payload | None = None
    """The event itself, in the second version."""


def moment_us(data: bytes, now_ms: int) -> int:
    """Return when the server witnessed an event, in Unix microseconds; 0 when the message does not say it."""
    try:
        message = msgspec.json.decode(data, type=_Message)
    except (msgspec.DecodeError, RecursionError):
        return 0
    found = message.time_us
    if message.payload is not None:
        at = message.payload.witnessed or message.payload.time
        found = (at - _EPOCH) // _US if at is not None and at.tzinfo is not None else 0
    return found if 0 < found < now_ms * 1000 + _FUTURE_US else 0


def key_of(data: bytes) -> bytes:
    """Return the key by which an event is known when it comes again.

    A server sends the same bytes again. Its account and its revision would not do: one revision has several events.
    """
    return blake2b(data, digest_size=KEY_BYTES).digest()


def cursor_of(mark: str) -> str:
    """Return the cursor for a connection that goes on behind the events up to this moment."""
    return str(max(int(mark) - REWIND_US, 0))


def parameters_of(settings: Any, dictionary: Dictionary | None, last_id: str) -> list[tuple[str, str]]:
    """Return the parameters of the address."""
    is_v2 = settings.endpoint == JETSTREAM_V2
    names = ("collections", "dids") if is_v2 else ("wantedCollections", "wantedDids")
    filters = (settings.collections, settings.follow)
    found = [(name, value) for name, text in zip(names, filters, strict=True) for value in split(text)]
    if last_id:
        found.append(("cursor", cursor_of(last_id)))
    if dictionary is not None:
        found.append(("zstdDictionary", str(dictionary.number)) if is_v2 else ("compress", "true"))
    return found


class Dictionary(NamedTuple):
    """What messages are packed with."""

    number: int
    unpack: Callable[[bytes], bytes]


def read_dictionary(path: Path, most_bytes: int) -> Dictionary:
    """Return the dictionary in a file. Raises OSError, and ValueError for a file that is none."""
    return make_dictionary(path.read_bytes(), most_bytes)


def make_dictionary(data: bytes, most_bytes: int) -> Dictionary:
    """Return a dictionary, whose `unpack` returns at most one byte more than `most_bytes`. Raises ValueError."""
    # imported only where messages are packed
    from aggregator.files import zstd

    if not data.startswith(_MAGIC):
        raise ValueError("no dictionary of zstd")
    try:
        known = zstd.ZstdDict(data).as_digested_dict
    except (zstd.ZstdError, ValueError) as error:
        raise ValueError(f"no dictionary of zstd: {error}") from error
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: MAX_ZSTD_WINDOW}

    def unpack(packed: bytes) -> bytes:
        stream = zstd.ZstdDecompressor(zstd_dict=known, options=options)
        try:
            unpacked: bytes = stream.decompress(packed, most_bytes + 1)
        except zstd.ZstdError as error:
            raise Broken(f"a message that the dictionary does not unpack: {error}") from error
        if len(unpacked) <= most_bytes and not stream.eof:
            raise Broken("a packed message without its end")
        return unpacked

    return Dictionary(int.from_bytes(data[4:8], "little"), unpack)
