"""The publications of the demo's feeds: real captures in turn, each with its clock set to the time of publication.

aggregator/demo/SOURCES.md says whose captures these are. Everything follows from the seed and the time, so two servers
with one seed publish the same bytes.
"""

import io
import json
import random
import re
import tarfile
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.resources import files
from typing import NamedTuple

_ROUND = 30
"""The number of publications in a round; a feed freezes once in each round."""


class Feed(NamedTuple):
    """One feed of the demo."""

    path: str
    media: str
    period_s: int
    """How often something new is published."""
    validator: str
    """The header with which a client can ask for a newer publication; empty when the feed has none."""
    captures: list[bytes]
    dated: Callable[[bytes, int], bytes]
    """Puts a time in Unix seconds into a capture."""


def shipped_feeds() -> list[Feed]:
    """Return the feeds, with the captures that come with the package."""
    folder = files("aggregator.demo").joinpath("feeds")
    with tarfile.open(fileobj=io.BytesIO(folder.joinpath("subway.tar.xz").read_bytes())) as tar:
        subway = [file.read() for member in tar.getmembers() if (file := tar.extractfile(member))]
    bikes, buses = (folder.joinpath(name).read_bytes() for name in ("station_status.json", "siri.xml"))
    return [
        Feed("/subway.pb", "application/x-protobuf", 10, "ETag", subway, date_gtfs_realtime),
        Feed("/station_status.json", "application/json", 20, "", [bikes], date_gbfs),
        Feed("/siri.xml", "application/xml", 15, "Last-Modified", [buses], date_siri),
    ]


def published_at(feed: Feed, now: float, frozen: float, seed: int) -> int:
    """Return the time at which the publication that a feed shows at `now` was published.

    Once in 30 publications the feed freezes for a share `frozen` of them: it answers, but nothing changes.
    """
    number = int(now) // feed.period_s
    spell = round(frozen * _ROUND)
    start = random.Random(f"{seed} {feed.path} {number // _ROUND}").randint(1, max(1, _ROUND - spell))
    place = number % _ROUND
    if start <= place < start + spell:
        number -= place - start + 1
    return number * feed.period_s


def body_at(feed: Feed, moment: int) -> bytes:
    """Return the body that a feed published at a moment that `published_at` returned."""
    capture = feed.captures[moment // feed.period_s % len(feed.captures)]
    return feed.dated(capture, moment)


def date_gbfs(capture: bytes, moment: int) -> bytes:
    """Return a GBFS document of version 2 with its `last_updated` set."""
    return json.dumps({**json.loads(capture), "last_updated": moment}, indent=2).encode()


def date_siri(capture: bytes, moment: int) -> bytes:
    """Return a SIRI delivery with every ResponseTimestamp set."""
    stamp = datetime.fromtimestamp(moment, timezone.utc).isoformat().encode()
    return re.sub(rb"(<ResponseTimestamp>)[^<]*", rb"\g<1>" + stamp, capture)


def date_gtfs_realtime(capture: bytes, moment: int) -> bytes:
    """Return a GTFS-realtime message with its header's timestamp set; all other fields stay byte for byte.

    The function works on the fields of the protocol buffer, so that the demo needs no library: FeedMessage.header is
    field 1, FeedHeader.timestamp is field 3 (gtfs-realtime.proto).
    """
    return b"".join(
        _field(1, _dated_header(value, moment)) if number == 1 and isinstance(value, bytes) else raw
        for number, value, raw in _fields(capture)
    )


def _dated_header(header: bytes, moment: int) -> bytes:
    kept = b"".join(raw for number, _, raw in _fields(header) if number != 3)
    return kept + _varint(3 << 3) + _varint(moment)


def _fields(message: bytes) -> list[tuple[int, int | bytes, bytes]]:
    """Return (number, value, raw bytes) of each field; our captures only have varint and length-delimited fields."""
    fields: list[tuple[int, int | bytes, bytes]] = []
    at = 0
    while at < len(message):
        start = at
        tag, at = _read_varint(message, at)
        number, at = _read_varint(message, at)
        value: int | bytes = number
        if tag & 7 == 2:
            value, at = message[at : at + number], at + number
        elif tag & 7 != 0:
            raise ValueError(f"wire type {tag & 7} in a shipped capture")
        fields.append((tag >> 3, value, message[start:at]))
    return fields


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
