"""Unpack gzip, deflate, zstd and brotli in small pieces, however much the next byte unpacks to.

Source: RFC 1952, 1950, 1951, 8878, 7932; RFC 9110, section 8.4.1.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Protocol

from aggregator.http.framing import Broken

PIECE = 64 * 1024
GZIP = b"\x1f\x8b\x08"
_BROTLI_LIMIT = PIECE // 4
"""Less than PIECE, because the library hands out whole blocks of its own, the first of 32 KB."""
MAX_ZSTD_WINDOW = 23
"""8 MB (2 to the power of 23): the window that every client must be ready for. Source: RFC 9659."""
_ZSTD = b"\x28\xb5\x2f\xfd"
_BEGINS = {
    "gzip": (GZIP,),
    "zstd": (_ZSTD, *(bytes([number]) + b"\x2a\x4d\x18" for number in range(0x50, 0x60))),
}
"""How a further stream begins, for packings in which several streams may follow each other."""


class _Stream(Protocol):
    """An unpacker of one stream."""

    eof: bool
    rest: bytes
    """The bytes that came behind the end of the stream."""
    full: bool
    """True while more output may come without more input."""

    def take(self, data: bytes) -> bytes:
        """Unpack `data`, and return at most PIECE bytes. Raises Broken for data that is not packed in this way."""
        ...


class _Zlib:
    def __init__(self, wbits: int) -> None:
        self._stream = zlib.decompressobj(wbits)
        self.eof, self.full, self.rest = False, False, b""

    def take(self, data: bytes) -> bytes:
        try:
            unpacked = self._stream.decompress(self._stream.unconsumed_tail + data, PIECE)
        except zlib.error as error:
            raise _not_packed(error) from error
        self.eof, self.rest = self._stream.eof, self._stream.unused_data
        self.full = not self.eof and (bool(self._stream.unconsumed_tail) or len(unpacked) == PIECE)
        return unpacked


class _Zstd:
    def __init__(self) -> None:
        # imported only for an answer packed with zstd: few are
        from aggregator.files import zstd

        self._error = zstd.ZstdError
        self._stream = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_ZSTD_WINDOW})
        self.eof, self.full, self.rest = False, False, b""

    def take(self, data: bytes) -> bytes:
        try:
            unpacked: bytes = self._stream.decompress(data, PIECE)
        except self._error as error:
            raise _not_packed(error) from error
        self.eof, self.rest = self._stream.eof, self._stream.unused_data
        self.full = not self.eof and not self._stream.needs_input
        return unpacked


class _Brotli:
    def __init__(self) -> None:
        import brotli  # an optional package

        self._error = brotli.error
        self._stream: Any = brotli.Decompressor()
        self.eof, self.full, self.rest = False, False, b""

    def take(self, data: bytes) -> bytes:
        try:
            unpacked: bytes = self._stream.process(data, output_buffer_limit=_BROTLI_LIMIT)
        except self._error as error:
            raise _not_packed(error) from error
        self.eof = self._stream.is_finished()
        # the library tells when input waits, but not when output does
        self.full = not self.eof and bool(unpacked)
        return unpacked


def unpack(pieces: Iterator[bytes], packing: str, notes: set[str]) -> Iterator[bytes]:
    """Yield the unpacked content of one stream or several.

    Zeros behind the end are padding; other bytes there are noted. Raises Broken for data that is cut or not packed in
    this way.
    """
    stream: _Stream | None = None
    came, data = False, b""
    for piece in pieces:
        came = True
        data += piece
        while data or (stream is not None and stream.full):
            if stream is None:
                stream = _first(packing, data, notes)
            elif stream.eof:
                data = data.lstrip(b"\0")
                begins = _BEGINS.get(packing, ())
                if any(begin.startswith(data[: len(begin)]) and len(data) < len(begin) for begin in begins):
                    break  # nothing is left, or too few bytes to tell what follows
                if data and not data.startswith(begins):
                    notes.add("bytes_behind_packing")
                    _pass_over(pieces)
                    return
                stream = _first(packing, data, notes) if data else stream
            if stream is None or not (data or stream.full):
                break
            unpacked = stream.take(data)
            if unpacked:
                yield unpacked
            data = stream.rest if stream.eof else b""
    if came and (data or stream is None or not stream.eof):
        raise Broken("cut short: the packed body has no end")


def _first(packing: str, data: bytes, notes: set[str]) -> _Stream | None:
    """Return the unpacker of a stream that begins with these bytes; None when they are too few to tell."""
    if packing == "zstd":
        return _Zstd()
    if packing == "br":
        return _Brotli()
    if packing == "deflate":
        if len(data) < 2:
            return None
        is_zlib = data[0] & 15 == zlib.DEFLATED and not (data[0] << 8 | data[1]) % 31
        if not is_zlib and not data.startswith(GZIP):
            notes.add("deflate_without_header")
            return _Zlib(-zlib.MAX_WBITS)
    return _Zlib(32 + zlib.MAX_WBITS)  # gzip or zlib, as the first bytes say


def _pass_over(pieces: Iterator[bytes]) -> None:
    """Read the pieces to the end, so that the connection can be used again."""
    for _ in pieces:
        continue


def _not_packed(error: Exception) -> Broken:
    return Broken(f"not packed as its headers say: {error}")
