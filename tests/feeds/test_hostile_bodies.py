"""A body made to cost much costs the filter no more than its size is good for, in memory and in time."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.transit import gtfs_realtime_pb2

from aggregator.feeds.reading.entities import LARGEST_ENTITY, Decoder
from aggregator.feeds.reading.fetched import Corrupt, Fetched
from aggregator.feeds.reading.gtfsrealtime import entity_hash
from aggregator.feeds.reading.protobuf import PIECE, BadMessage, gtfs_realtime
from aggregator.feeds.reading.timestamps import resolve
from tests.feeds.captures import capture, subway_captures
from tests.feeds.filtering import Filtering

SIZE = 32 * 2**20
HEADER = b"\x0a\x0b\x0a\x032.0\x18\x80\xc0\xa4\xd6\x06"


def field(number: int, value: bytes) -> bytes:
    """Return one field of a protocol buffer."""
    length, tag = len(value), bytes([number << 3 | 2])
    while length > 127:
        tag += bytes([length & 127 | 128])
        length >>= 7
    return tag + bytes([length]) + value


def filled(begin: bytes, unit: bytes, end: bytes = b"") -> bytes:
    """Return a body of SIZE bytes at most, full of one thing."""
    return begin + unit * ((SIZE - len(begin) - len(end)) // len(unit)) + end


BODIES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "empty entities": ("gtfs-realtime", lambda: filled(HEADER, b"\x12\x00")),
    "empty stops": ("gtfs-realtime", lambda: HEADER + field(2, field(3, b"\x12\x00" * (SIZE // 2 - 20)))),
    "numbers": ("gtfs-realtime", lambda: filled(HEADER, b"\x08\x01")),
    "groups": ("gtfs-realtime", lambda: filled(HEADER, b"\x3b\x3c")),
    "empty objects": ("gbfs", lambda: filled(b'{"data":[', b"{},", b'{}],"last_updated":1800000000}')),
    "empty lists": ("json:/0", lambda: filled(b"[1800000000,", b"[],", b"[]]")),
    "a long text": ("gbfs", lambda: filled(b'{"last_updated":"', b"\xf0\x9f\x9a\x8c", b'"}')),
    "empty elements": ("xml:t", lambda: filled(b"<a>", b"<b/>", b"</a>")),
    "wanted elements": ("xml:t", lambda: filled(b"<a>", b"<t/>", b"</a>")),
    "wanted elements in each other": (
        "xml:t",
        lambda: filled(b"<a>", b"<t>" * 400 + b"a<b/>" * 1000 + b"</t>" * 400, b"</a>"),
    ),
    "other names": ("xml:t", lambda: b"<a>" + b"".join(b"<a%d/>" % n for n in range(SIZE // 12)) + b"</a>"),
    "attributes": ("xml:t", lambda: b"<a " + b" ".join(b'a%d=""' % n for n in range(SIZE // 14)) + b"/>"),
    "default attributes": (
        "xml:t",
        lambda: filled(b"<!DOCTYPE a [<!ATTLIST b c CDATA '%s'>]><a>" % (b"x" * 60_000), b"<b/>", b"</a>"),
    ),
    "a long comment": ("xml:t", lambda: filled(b"<a><!--", b"x", b"--></a>")),
    "dates": ("rss", lambda: filled(b"<rss>", b"<item><date>x</date></item>", b"</rss>")),
    "white space": ("siri", lambda: filled(b"", b" ")),
}


def limit() -> None:
    """Let the child die of what is meant to be bounded: some 30 times what it should take."""
    resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
    resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))


@pytest.mark.parametrize("kind", BODIES)
def test_a_filter_takes_no_more_than_four_times_the_size_of_a_body(tmp_path: Path, kind: str) -> None:
    timestamp, make = BODIES[kind]
    body = make()
    assert len(body) <= SIZE
    message = Filtering(tmp_path).download(body, timestamp=timestamp, format=timestamp.partition(":")[0])

    command = [sys.executable, "-m", "tests.feeds.limited", str(tmp_path)]
    told = json.loads(subprocess.run(command, input=message.raw, check=True, stdout=-1, preexec_fn=limit).stdout)

    assert told["peak_kb"] * 1024 <= 4 * SIZE
    assert told["outcome"] in ("ok", "invalid")


def test_attributes_that_each_element_is_looked_through_for_are_few() -> None:
    declared = b"<!DOCTYPE t [<!ATTLIST t %s>]><t>2026-11-28T05:05:36Z</t>"
    read = resolve("xml:t", Path("."))

    assert read(Fetched(declared % (b"a CDATA #IMPLIED " * 100), {}, 1.8e9)) == 1795842336
    with pytest.raises(Corrupt, match="XML that declares more than 100 attributes"):
        read(Fetched(declared % (b"a CDATA #IMPLIED " * 101), {}, 1.8e9))


def feed(entities: int, **changes: Any) -> Any:
    """Return a message with so many entities, from real ones."""
    message: Any = gtfs_realtime_pb2.FeedMessage.FromString(subway_captures()[0][1])  # type: ignore[attr-defined]
    real = list(message.entity)
    while len(message.entity) < entities:
        message.entity.extend(real)
    for name, value in changes.items():
        setattr(message.header, name, value)
    return message


def parse(message: bytes) -> Any:
    """Return it parsed as a whole."""
    return gtfs_realtime_pb2.FeedMessage.FromString(message)  # type: ignore[attr-defined]


def test_a_message_in_pieces_is_the_message() -> None:
    body = feed(5000).SerializeToString()
    assert len(body) > 4 * PIECE

    pieces = list(gtfs_realtime().pieces(body))

    assert len(pieces) > 4 and max(len(piece.SerializePartialToString()) for piece in pieces) <= PIECE
    assert b"".join(piece.SerializePartialToString() for piece in pieces) == body


def test_the_last_of_several_headers_counts_wherever_it_stands() -> None:
    one, other = feed(5000, timestamp=1707397155).SerializeToString(), feed(5000, timestamp=1707397999)

    body = one + other.SerializeToString()

    assert resolve("gtfs-realtime", Path("."))(Fetched(body, {}, 1.8e9)) == 1707397999


def test_a_large_entity_is_looked_through_and_what_is_wrong_in_it_is_found() -> None:
    message = feed(1)
    update = next(entity for entity in message.entity if entity.HasField("trip_update"))
    stops = list(update.trip_update.stop_time_update)
    while update.ByteSize() < 3 * PIECE:
        update.trip_update.stop_time_update.extend(stops)
    body = message.SerializeToString()
    read = resolve("gtfs-realtime", Path("."))

    assert read(Fetched(body, {}, 1.8e9)) == 1707397155
    # the tag of a stop in the middle becomes the end of a group that never began
    middle = body.index(stops[0].SerializeToString(), len(body) // 3)
    with pytest.raises(Corrupt):
        read(Fetched(body[:middle] + b"\x0c" + body[middle + 1 :], {}, 1.8e9))


@pytest.mark.parametrize("cut", [1, 100, 300_000])
def test_a_long_message_that_is_cut_is_corrupt(cut: int) -> None:
    body = feed(5000).SerializeToString()

    with pytest.raises(Corrupt):
        resolve("gtfs-realtime", Path("."))(Fetched(body[:-cut], {}, 1.8e9))


def test_the_entities_of_a_long_message_have_the_hash_that_they_always_had() -> None:
    assert entity_hash(capture("gtfsrt/1707397157.ace.pb")) == "2a46ca42efee98a9"
    one, other = feed(5000, timestamp=1), feed(5000, timestamp=2)
    assert entity_hash(one.SerializeToString()) == entity_hash(other.SerializeToString()) == "1ed53aebccfeb463"


def test_a_long_message_is_exported_entity_by_entity() -> None:
    message = feed(5000)

    rows = list(Decoder().rows(message.SerializeToString()))

    assert [row["entity_id"] for row in rows] == [entity.id for entity in message.entity]
    assert {row["header_at"] for row in rows} == {1707397155}


def test_an_entity_that_is_too_large_for_a_row_is_told_of() -> None:
    message = feed(1)
    message.entity[0].alert.header_text.translation.add(text="x" * LARGEST_ENTITY)

    with pytest.raises(Corrupt, match="an entity of more than 1048576 bytes"):
        Decoder().rows(message.SerializeToString())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\x12\x00" * 1_000_000, "more fields than a body of 2000000 bytes can need"),
        (b"\x3b" + field(2, bytes(PIECE)) + b"\x3c", "a group of"),
        (b"\x3b" + bytes(PIECE), "no field's number"),
        (b"\x02" + bytes(PIECE), "no field's number"),
        (b"\x3b" * 101 + bytes(PIECE), "wire type 3"),
        (b"\x0c" + bytes(PIECE), "wire type 4"),
        (b"\x0f" + bytes(PIECE), "wire type 7"),
        (b"\x08" + b"\xff" * PIECE, "cut"),
    ],
)
def test_what_is_no_message_or_asks_for_too_much_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(BadMessage, match=words):
        list(gtfs_realtime().pieces(body))
