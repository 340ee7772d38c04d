"""Real captures of a feed, and the same captures with another time in their header."""

from __future__ import annotations

from google.transit import gtfs_realtime_pb2

from benchmarks.rig import ROOT

_TIMESTAMP = b"\x18"
"""The tag of `timestamp` in a FeedHeader: field 3, a varint."""


def load_captures() -> list[bytes]:
    """Return consecutive captures of the New York A/C/E feed, a minute apart, about 130 KB each."""
    return [path.read_bytes() for path in sorted((ROOT / "tests/data/feeds/gtfsrt").glob("*.ace.pb"))]


def stamped(capture: bytes, second: int) -> bytes:
    """Return a capture as if published at another second, without the cost of parsing it whole."""
    header = gtfs_realtime_pb2.FeedMessage()
    # the header is the first field, and its length takes one byte
    header.MergeFromString(capture[: 2 + capture[1]])
    old, new = (_TIMESTAMP + _varint(value) for value in (header.header.timestamp, second))
    return capture.replace(old, new, 1)


def _varint(value: int) -> bytes:
    """Return a number as protocol buffers write it."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)
