"""When was a GTFS-realtime message published, and do two have the same entities?"""

from __future__ import annotations

import hashlib
from functools import cache

from aggregator.feeds.reading.fetched import Corrupt, Fetched, looks_like, moment_of
from aggregator.feeds.reading.protobuf import BadMessage, Fields, Parser, gtfs_realtime

_HEADER = 1
"""The number of `header` in FeedMessage, gtfs-realtime.proto."""


def read_gtfs_realtime(fetched: Fetched) -> int | float:
    """Return the header's timestamp; the whole message is parsed, as a cut one often has a good header.

    Seconds, says the specification; some producers write milliseconds or microseconds.
    Parsing takes 0.44 ms for 130 KB, the header alone 1 µs. Whether every entity has its required fields is not asked
    (another 0.5 ms): an archive keeps what a producer forgot.
    """
    if not fetched.body:
        raise Corrupt("an empty body")
    moment = None
    try:
        for piece in _gtfs_realtime().pieces(fetched.body):
            if piece.header.HasField("timestamp"):
                moment = piece.header.timestamp
    except BadMessage as error:
        raise Corrupt(f"no GTFS-realtime message: {error}{looks_like(fetched.body)}") from error
    if moment is None:
        raise Corrupt("a GTFS-realtime message without header.timestamp")
    return moment_of(moment, "header.timestamp")


def entity_hash(body: bytes) -> str:
    """Return a hash of a GTFS-realtime body's entities without its header, as 16 hexadecimal digits.

    Producers write a new header timestamp though nothing changed, and several behind one address the same contents
    under different ones: this hash tells. Raises Corrupt.
    """
    digest, whole = hashlib.sha256(), memoryview(body)
    begin = end = 0
    try:
        for field in Fields(body).between(0, len(body)):
            if field.number == _HEADER:
                digest.update(whole[begin:end])
                begin = field.end
            end = field.end
    except BadMessage as error:
        raise Corrupt(f"no protocol buffer: {error}") from error
    digest.update(whole[begin:end])
    return digest.hexdigest()[:16]


@cache
def _gtfs_realtime() -> Parser:
    return gtfs_realtime()
