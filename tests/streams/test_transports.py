"""Bytes as they come, cut anywhere, become the same messages."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aggregator.streams.transports.lines import Lines
from aggregator.streams.transports.parts import Part, TooLarge
from aggregator.streams.transports.sse import ServerSentEvents

WIKIMEDIA = (Path(__file__).parent / "data/recentchange.sse").read_bytes()


def fed(parser: Lines | ServerSentEvents, data: bytes, size: int = 1_000_000) -> list[Part | TooLarge]:
    return [part for at in range(0, len(data), size) for part in parser.feed(data[at : at + size])]


def sse(data: bytes, size: int = 1_000_000) -> list[Part | TooLarge]:
    return fed(ServerSentEvents(1000), data, size)


def test_real_events_are_the_same_however_the_bytes_are_cut() -> None:
    whole = fed(ServerSentEvents(1_000_000), WIKIMEDIA)

    assert len(whole) == 60
    for size in (1, 3, 7, 1000):
        assert fed(ServerSentEvents(1_000_000), WIKIMEDIA, size) == whole


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (b"data: a\n\n", [Part(b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Part(b"a")]),
        (b"data:a\r\rdata:b\r\n\r\n", [Part(b"a"), Part(b"b")]),
        (b"data: a\ndata:  b\n\n", [Part(b"a\n b")]),
        (b"event: update\nid: 5\ndata: a\n\ndata: b\n\n", [Part(b"a", "update", "5"), Part(b"b", "", "5")]),
        (b"id: 5\ndata: a\n\nid\ndata: b\n\n", [Part(b"a", "", "5"), Part(b"b", "", "")]),
        (b"id: 5\x006\ndata: a\n\n", [Part(b"a")]),
        (b": comment\n\n:thump\ndata\n\n", [Part(b"")]),
        (b"event: only\n\ndata: a\n\n", [Part(b"a")]),
        (b"data: a\n", []),
    ],
    ids=lambda value: str(value)[:30],
)
def test_fields_are_read_as_the_standard_says(data: bytes, parts: list[Part]) -> None:
    for size in (1, 2, 1_000):
        assert sse(data, size) == parts


def test_an_id_counts_once_its_event_is_whole() -> None:
    parser = ServerSentEvents(1000)
    fed(parser, b"id: 1\ndata: a\n\nid: 2\ndata: b\n")

    assert parser.last_id == "1" and parser.partial


def test_the_wait_that_a_server_asks_for_is_known() -> None:
    parser = ServerSentEvents(1000)
    fed(parser, b"retry: 2500\nretry: soon\n\n")

    assert parser.retry_s == 2.5 and not parser.partial


@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_an_event_that_is_too_large_is_passed_over_and_the_next_is_whole(size: int) -> None:
    found = sse(b"data: " + b"x" * 5000 + b"\n\ndata: y\n\n", size)

    assert [type(part) for part in found] == [TooLarge, Part] and found[1] == Part(b"y")


@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_many_lines_that_are_too_large_together_are_passed_over(size: int) -> None:
    found = sse(b"data: xxxxxxxx\n" * 500 + b"\ndata: y\n\n", size)

    assert [type(part) for part in found] == [TooLarge, Part]


LINES: list[tuple[bytes, list[Part | TooLarge]]] = [
    (b'{"a":1}\n{"b":2}\n', [Part(b'{"a":1}'), Part(b'{"b":2}')]),
    (b'{"a":1}\r\n\r\n\n{"b":2}\r\n', [Part(b'{"a":1}'), Part(b'{"b":2}')]),
    (b'{"a":1}\n{"cut', [Part(b'{"a":1}')]),
    (b"7\r\n", [Part(b"7")]),
]


@pytest.mark.parametrize(("data", "parts"), LINES)
def test_lines_are_messages_and_blank_lines_are_none(data: bytes, parts: list[Part]) -> None:
    for size in (1, 2, 1_000):
        assert fed(Lines(1000), data, size) == parts


def test_lengths_between_messages_are_no_messages() -> None:
    assert fed(Lines(1000, delimited=True), b'9\r\n{"a":1}\r\n\r\n9\r\n{"b":2}\r\n', 3) == [
        Part(b'{"a":1}'),
        Part(b'{"b":2}'),
    ]


def test_a_line_that_is_too_large_is_passed_over_and_the_next_is_whole() -> None:
    for size in (1, 100, 10_000):
        found = fed(Lines(1000), b"x" * 5000 + b"\ny\n", size)
        assert [type(part) for part in found] == [TooLarge, Part] and found[1] == Part(b"y")


@pytest.mark.parametrize("parser", [Lines, ServerSentEvents])
def test_an_endless_line_takes_no_more_memory_than_allowed(parser: Callable[[int], Lines | ServerSentEvents]) -> None:
    made = parser(1000)
    for _ in range(1000):
        assert list(made.feed(b"x" * 1000)) == []

    assert made.partial and len(made._rest) <= 2000


@pytest.mark.parametrize("form", ["lines", "sse"])
def test_a_message_that_drips_in_costs_time_by_its_size(form: str) -> None:
    """200,000 pieces took 7 s when each was added to the whole line before it."""
    parts = Lines(800_000) if form == "lines" else ServerSentEvents(800_000)
    begun = time.process_time()
    found = [part for byte in b"data:" + b"x" * 200_000 + b"\n\n" for part in parts.feed(bytes([byte]))]

    assert [len(part.data) for part in found if isinstance(part, Part)] in ([200_005], [200_000])
    assert time.process_time() - begun < 3.0


def test_empty_data_lines_without_end_are_bounded() -> None:
    events = ServerSentEvents(1000)
    for _ in range(10_000):
        assert not list(events.feed(b"data:\n"))

    assert isinstance(next(iter(events.feed(b"\n"))), TooLarge) and len(events._data) == 0
