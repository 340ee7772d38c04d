"""Read the body of an answer: unpack it, bound it, and find out when it is not whole."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from itertools import chain
from typing import NamedTuple

PIECE = 64 * 1024
_GZIP = b"\x1f\x8b\x08"
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class Broken(Exception):
    """The answer cannot be taken; the text says why."""


class Body(NamedTuple):
    """What was read."""

    wire_bytes: int
    """As it came, packed or not."""
    size_bytes: int
    sha256: str
    has_end: bool
    """True when the answer said where its body ends; without that a cut one looks whole."""


def read_body(
    response: HTTPResponse, encoding: str, max_size: int, write: Callable[[bytes], object], *, keep_gzip: bool = False
) -> Body:
    """Pass a body on, unpacked, in pieces that are small whatever it was packed from.

    A body that is gzip though no header says so is unpacked too, but with `keep_gzip`.
    Raises Broken for one that is larger than `max_size`, cut, or packed in a way nobody asked for; memory holds no
    more than two pieces of it.
    """
    if response.length is not None and response.length > max_size:
        raise Broken(f"larger than max_size ({response.length} bytes announced)")
    encoding = encoding.strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise Broken(f"packed as {encoding[:40]!r}, which nobody asked for")
    is_packed = encoding not in ("", "identity")
    has_end = is_packed or response.chunked or response.length is not None
    wire = _Wire(response, max_size)
    digest, size = hashlib.sha256(), 0
    pieces = _unpack(wire.pieces()) if is_packed else _unpack_gzip(wire.pieces(), keep_gzip)
    for piece in pieces:
        size += len(piece)
        if size > max_size:
            raise Broken(f"larger than max_size (more than {max_size} bytes)")
        digest.update(piece)
        write(piece)
    return Body(wire.read, size, digest.hexdigest(), has_end)


class _Wire:
    """The pieces as they come."""

    def __init__(self, response: HTTPResponse, max_size: int) -> None:
        self.response = response
        self.max_size = max_size
        self.read = 0

    def pieces(self) -> Iterator[bytes]:
        while piece := self.response.read(PIECE):
            self.read += len(piece)
            if self.read > self.max_size:
                raise Broken(f"larger than max_size (more than {self.max_size} bytes)")
            yield piece
        # http.client notices a cut chunk by itself, but not that fewer bytes came than Content-Length says
        if self.response.length:
            raise Broken(f"cut short: {self.response.length} bytes are missing")


def _unpack_gzip(pieces: Iterator[bytes], keep_gzip: bool) -> Iterator[bytes]:
    """Yield a body of which no header says that it is packed: some servers hand out packed files as they are."""
    first = next(pieces, b"")
    whole = chain([first] if first else [], pieces)
    yield from _unpack(whole) if first.startswith(_GZIP) and not keep_gzip else whole


def _unpack(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what is packed as gzip, in one member or several, or as zlib."""
    stream, came = zlib.decompressobj(_GZIP_OR_ZLIB), False
    try:
        for piece in pieces:
            came, more = True, True
            while more:
                if stream.eof:
                    # zeros behind the end are padding
                    piece = piece.lstrip(b"\0")
                    if not piece:
                        break
                    stream = zlib.decompressobj(_GZIP_OR_ZLIB)
                unpacked = stream.decompress(piece, PIECE)
                if unpacked:
                    yield unpacked
                piece = stream.unused_data if stream.eof else stream.unconsumed_tail
                # a full piece may have left some behind that needs no more input
                more = bool(piece) or (len(unpacked) == PIECE and not stream.eof)
    except zlib.error as error:
        raise Broken(f"not packed as its headers say: {error}") from error
    if came and not stream.eof:
        raise Broken("cut short: the packed body has no end")
