"""Read the lines of a packed file as far as they can be read, within bounds, whatever state the file is in."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from aggregator.files import zstd
from aggregator.streams.reading.events import is_object

_PIECE = 1 << 14
"""Packed bytes that are read at a time: what a damaged piece held besides is lost, so pieces are small."""
_ROOM = 1 << 20
"""Unpacked bytes that are made at a time."""
MOST_BYTES = 1 << 34
"""What a file may hold unpacked: 16 GB, twenty times what a busy stream brings in the longest period."""
LONGEST = 1 << 24
"""The longest line that is read; `capture` passes over messages of more than a megabyte."""
_BEGINNINGS = {"gz": b"\x1f\x8b\x08\0\0\0\0\0", "zst": b"\x28\xb5\x2f\xfd"}
"""How the members and frames of `record` begin. Of gzip it is without a time and a name."""
_WINDOWS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 27}
"""128 MB of memory, which every zstd accepts without an option."""


class Readable(Protocol):
    """A source of bytes."""

    def read(self, size: int, /) -> bytes | None:
        """Return at most `size` bytes; none at the end."""
        ...


class Lines:
    """The lines of a file, without line breaks, in bounded memory; lines with nothing on them are passed over.

    What cannot be read is told by the attributes, once the iteration has ended. Raises OSError, or what the source
    raises, when the source itself cannot be read.
    """

    def __init__(self, file: Readable, form: str, *, most_bytes: int = MOST_BYTES, longest: int = LONGEST) -> None:
        self._file = file
        self._new: Callable[[], Any] = _Gzip if form == "gz" else lambda: zstd.ZstdDecompressor(options=_WINDOWS)
        self._beginning = _BEGINNINGS[form]
        self._most_bytes = most_bytes
        self._longest = longest
        self.fault = ""
        """Why the file could not be read to its end; empty when it could."""
        self.unpacked_bytes = 0
        self.blank = 0
        """How many lines had nothing on them."""
        self.overlong = 0
        """How many lines were longer than may be read, and were passed over."""
        self.tail_bytes = 0
        """How much of lines was read that break off where the file is cut or damaged."""

    def __iter__(self) -> Iterator[bytes]:
        rest = bytearray()
        too_long = False
        for piece in self._pieces():
            if piece is None:
                if not too_long:
                    yield from self._last(bytes(rest))
                rest.clear()
                too_long = False
                continue
            self.unpacked_bytes += len(piece)
            head, found, tail = piece.rpartition(b"\n")
            if not found:
                rest += piece
            else:
                rest += head
                lines = bytes(rest).split(b"\n")
                if too_long:
                    del lines[0]
                    too_long = False
                for line in lines:
                    yield from self._line(line)
                rest = bytearray(tail)
            if len(rest) > self._longest:
                self.overlong += not too_long
                too_long = True
                rest.clear()
        if not too_long:
            yield from self._last(bytes(rest))

    def _last(self, rest: bytes) -> Iterator[bytes]:
        """Yield what stands behind the last line break: a line break may be all that is missing."""
        if self.fault and not is_object(rest):
            self.tail_bytes += len(rest)
        elif rest:
            yield from self._line(rest)

    def _line(self, line: bytes) -> Iterator[bytes]:
        line = line.strip(b"\r\n\t ")
        if not line:
            self.blank += 1
        elif len(line) > self._longest:
            self.overlong += 1
        elif self.fault and not is_object(line):
            # behind damage, bytes may look like the beginning of a member and be none
            self.tail_bytes += len(line)
        else:
            yield line

    def _pieces(self) -> Iterator[bytes | None]:
        """Yield what the file holds, and None where something is missing; it is one or more members or frames."""
        made = 0
        data = self._read()
        while data:
            stream = self._new()
            try:
                while not stream.eof:
                    if not data and stream.needs_input:
                        data = self._read()
                        if not data:
                            self.fault = self.fault or "cut: the file ends in the middle"
                            return
                    piece = stream.decompress(data, _ROOM)
                    data = b""
                    made += len(piece)
                    if made > self._most_bytes:
                        self.fault = f"unpacks to more than {self._most_bytes:,} bytes"
                        return
                    if piece:
                        yield piece
            except (zlib.error, zstd.ZstdError) as error:
                self.fault = self.fault or f"damaged: {error}"
                yield None
                data = self._next_member(data)
                continue
            # zeros behind the last member are padding, which tapes and some copies need
            data = stream.unused_data.lstrip(b"\0")
            while not data and (more := self._read()):
                data = more.lstrip(b"\0")

    def _next_member(self, data: bytes) -> bytes:
        """Return what the file holds from the beginning of its next member on, as `record` begins them."""
        data = data[1:]
        while (at := data.find(self._beginning)) < 0:
            more = self._read()
            if not more:
                return b""
            data = data[1 - len(self._beginning) :] + more
        return data[at:]

    def _read(self) -> bytes:
        return self._file.read(_PIECE) or b""


class _Gzip:
    """zlib's decompressor with the interface that those of bz2, lzma and zstd share. Source: RFC 1952."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, room: int) -> bytes:
        piece = self._inner.decompress(self._inner.unconsumed_tail + data, room)
        self.needs_input = not self._inner.unconsumed_tail and len(piece) < room
        return piece
