"""Read untrusted protocol buffers in bounded memory, as a packed body of 50 KB can become a message of gigabytes.

A message is parsed in pieces of whole outermost fields. Each piece is freed before the next is parsed, so one piece
bounds the memory. To find the pieces, the outermost fields are stepped over; the body's size bounds their number.

Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, NamedTuple

PIECE = 256 * 1024
"""The bytes that are parsed at once. An empty inner message has two bytes, and takes 50 to 100 in memory."""
FREE_FIELDS = 100_000
BYTES_PER_FIELD = 12
"""How many bytes a field beyond the first FREE_FIELDS must have on average; fields of real feeds have hundreds."""

_VARINT, _FIXED64, _BYTES, _START_GROUP, _END_GROUP, _FIXED32 = range(6)


class BadMessage(ValueError):
    """The body is not a protocol buffer, or exceeds the bounds; the text says why."""


class Field(NamedTuple):
    """One field: its number, its wire type, and the places of its tag, value and end. A group is one field."""

    number: int
    kind: int
    start: int
    value: int
    end: int


_field = tuple.__new__
"""Makes a Field from a tuple. Calling the class takes twice the time, which counts for each entity of each body."""


class Fields:
    """Step over the outermost fields of a message without copying. Raises BadMessage."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._left = FREE_FIELDS + len(body) // BYTES_PER_FIELD

    def between(self, start: int, end: int) -> Iterator[Field]:
        """Yield the fields of the message that lies between two places."""
        groups: list[int] = []
        body, begin, at = self._body, start, start
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise BadMessage(f"more fields than a body of {len(body)} bytes can need")
            first = at
            # inlined for speed: most tags take one byte and most lengths one or two, and a call takes longer than that
            tag = body[at]
            if tag < 0x80:
                at += 1
            else:
                tag, at = _varint(body, at, end)
            number, kind, value = tag >> 3, tag & 7, at
            if kind == _BYTES:
                if at + 1 < end and (body[at] < 0x80 or body[at + 1] < 0x80):
                    length, value = body[at], at + 1
                    if length >= 0x80:
                        length, value = length & 0x7F | body[value] << 7, at + 2
                else:
                    length, value = _varint(body, at, end)
                at = value + length
            elif kind == _VARINT:
                _, at = _varint(body, at, end)
            elif kind in (_FIXED32, _FIXED64):
                at += 4 if kind == _FIXED32 else 8
            elif kind == _START_GROUP and len(groups) < 100:
                begin = begin if groups else first
                groups.append(number)
            elif kind != _END_GROUP or not groups or groups.pop() != number:
                raise BadMessage(f"wire type {kind} at byte {first}")
            if at > end or not number:
                raise BadMessage("cut" if number else f"no field's number at byte {first}")
            if kind == _END_GROUP and not groups:
                yield _field(Field, (number, _START_GROUP, begin, begin, at))
            elif not groups:
                yield _field(Field, (number, kind, first, value, at))
        if groups:
            raise BadMessage("cut within a group")


def _varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise BadMessage("cut, or a number of more than ten bytes")


class Parser:
    """Parse messages of one type, such as `FeedMessage`, with the bindings that Google generates."""

    def __init__(self, module: str, message: str) -> None:
        # Imported late, as it takes 30 ms and 8 MB, and only processes that read such feeds need it.
        self._type: Any = getattr(importlib.import_module(module), message)
        self._error: Any = importlib.import_module("google.protobuf.message").DecodeError

    def pieces(self, body: bytes, largest: int = 0) -> Iterator[Any]:
        """Yield a body as parsed pieces, which together have all its fields in order. Raises BadMessage.

        A field of more than `largest` bytes, and of more than a piece, is checked but left out of the pieces.
        """
        if len(body) <= PIECE:
            yield self._parse(self._type, body)
        else:
            yield from self._split(self._type, Fields(body), body, 0, len(body), max(largest, PIECE))

    def _split(self, kind: Any, fields: Fields, body: bytes, start: int, end: int, largest: int) -> Iterator[Any]:
        begin = at = start
        for field in fields.between(start, end):
            large = field.end - field.start > largest
            if begin < field.start and (large or field.end - begin > PIECE):
                yield self._parse(kind, body[begin : field.start])
                begin = field.start
            at = field.end
            if large:
                self._look_through(kind, fields, body, field)
                begin = field.end
        if begin < at:
            yield self._parse(kind, body[begin:at])

    def _look_through(self, kind: Any, fields: Fields, body: bytes, field: Field) -> None:
        """Parse the contents of a large field, and discard them. Texts and unknown fields are skipped."""
        if field.kind == _START_GROUP:
            raise BadMessage(f"a group of {field.end - field.start} bytes")
        known = kind.DESCRIPTOR.fields_by_number.get(field.number)
        if field.kind == _BYTES and known is not None and known.message_type is not None:
            part = known.message_type._concrete_class
            for _ in self._split(part, fields, body, field.value, field.end, PIECE):
                continue

    def _parse(self, kind: Any, body: bytes) -> Any:
        message = kind()
        try:
            message.ParseFromString(body)
        except self._error as error:
            raise BadMessage(str(error)) from error
        return message


def gtfs_realtime() -> Parser:
    """Return the parser of GTFS-realtime feeds."""
    return Parser("google.transit.gtfs_realtime_pb2", "FeedMessage")
