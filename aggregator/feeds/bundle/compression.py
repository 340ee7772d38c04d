"""Compress and decompress streams in four formats, always the same bytes for the same input.

Figures here are relative to `bz2 -9`, for 12 consecutive real captures of 130 KB; docs/feeds.md has those for an hour.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, Literal, Protocol

from aggregator.errors import AggregatorError
from aggregator.files import zstd

Level = Literal["default", "small"]

PIECE = 1 << 17
"""Bytes that are read or compressed at a time."""
MAX_WINDOW = 27
"""The largest window as a power of two: 128 MB, which every zstd accepts without an option."""
MAX_XZ_MEMORY = 1 << 28

_MAGIC = {b"\x28\xb5\x2f\xfd": "zst", b"BZh": "bz2", b"\x1f\x8b": "gz", b"\xfd7zXZ\x00": "xz"}


class BadBundle(AggregatorError):
    """Do not use this bundle: it is damaged, hostile or not a bundle at all. The text says why."""


class Readable(Protocol):
    """A source of bytes."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""
        ...


class Compressor(Protocol):
    """The interface that the compressors of zlib, bz2, lzma and zstd share."""

    def compress(self, data: bytes, /) -> bytes:
        """Take a piece of input and return the output that is ready."""
        ...

    def flush(self) -> bytes:
        """Return the rest of the output."""
        ...


def compressed(pieces: Iterable[bytes], compressor: Compressor) -> Iterator[bytes]:
    """Yield the compressed form of a stream.

    The input is cut into pieces of one size, so that the output does not depend on the pieces in which it arrived.
    """
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) >= PIECE:
            yield compressor.compress(bytes(waiting[:PIECE]))
            del waiting[:PIECE]
    yield compressor.compress(bytes(waiting))
    yield compressor.flush()


def new_compressor(format_name: str, level: Level, size_bytes: int, largest_bytes: int) -> Compressor:
    """Return a compressor for a tar of a known size whose largest member is known. Raises ValueError."""
    small = level == "small"
    if format_name == "zst":
        return _zstd_compressor(small, size_bytes, largest_bytes)
    if format_name == "xz":
        # `pb` is for data aligned to four bytes, which neither protocol buffers nor text are: 0.04 smaller without it.
        fields = {"id": lzma.FILTER_LZMA2, "pb": 0}
        fast = {"dict_size": 1 << 23, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3, "nice_len": 128, "depth": 24}
        filters = [{**fields, **({"preset": 6, "nice_len": 273} if small else fast)}]
        return lzma.LZMACompressor(lzma.FORMAT_XZ, lzma.CHECK_CRC64, filters=filters)
    if format_name == "bz2":
        return bz2.BZ2Compressor(9)
    if format_name == "gz":
        return zlib.compressobj(9 if small else 6, zlib.DEFLATED, 31)
    raise ValueError(f"unknown bundle format (found {format_name!r})")


def _zstd_compressor(small: bool, size_bytes: int, largest_bytes: int) -> Compressor:
    """Return a zstd compressor of one thread whose window holds several of the largest members.

    Long-distance matching (`zstd --long`) makes consecutive captures larger, not smaller: it prefers one far match to
    many near ones. A window over a few captures and a deep search in that window make them smaller.
    """
    window = min(max((4 * largest_bytes).bit_length(), 22), MAX_WINDOW)
    known = zstd.CompressionParameter
    fast: dict[int, int] = {known.strategy: zstd.Strategy.lazy2, known.min_match: 6, known.search_log: 6}
    deep: dict[int, int] = {known.strategy: zstd.Strategy.btultra2, known.min_match: 4, known.search_log: 9}
    tables: dict[int, int] = (
        {known.chain_log: 24, known.hash_log: 22} if small else {known.chain_log: 20, known.hash_log: 20}
    )
    whole: dict[int, int] = {known.window_log: window, known.checksum_flag: 1}
    options = whole | (deep | {known.target_length: 999} if small else fast)
    compressor: Any = zstd.ZstdCompressor(options={**options, **tables})
    compressor.set_pledged_input_size(size_bytes)
    made: Compressor = compressor
    return made


class Decompressed:
    """A stream of the decompressed contents of a file in any of the four formats, in bounded memory.

    Raises BadBundle when the file is in none of the formats, is damaged or truncated, or has other data at its end.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._inside = _open(file)

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        pieces = []
        while size > 0:
            piece = self._read_some(min(size, PIECE))
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_some(self, size: int) -> bytes:
        try:
            return self._inside.read(size)
        except (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError) as error:
            raise BadBundle(f"damaged: {error}") from error
        except OSError as error:
            # gzip and bz2 report damage as an OSError without a number; an error of the disk has a number.
            if error.errno is not None:
                raise
            raise BadBundle(f"damaged: {error}") from error


def _open(file: BinaryIO) -> Readable:
    start = file.read(6)
    file.seek(-len(start), 1)
    name = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), None)
    if name == "zst":
        widest: dict[int, int] = {zstd.DecompressionParameter.window_log_max: MAX_WINDOW}
        return _Streams(file, lambda: zstd.ZstdDecompressor(options=widest))
    if name == "gz":
        return gzip.GzipFile(fileobj=file, mode="rb")
    if name == "bz2":
        return _Streams(file, bz2.BZ2Decompressor)
    if name == "xz":
        return _Streams(file, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, MAX_XZ_MEMORY))
    raise BadBundle(f"in no known format (begins with {start!r})")


class _Streams:
    """Read the streams in a file one after the other up to its end, more strictly than the library's own readers.

    Zeros may follow a stream: xz defines such padding, and tapes need it.
    """

    def __init__(self, file: BinaryIO, new_decompressor: Callable[[], Any]) -> None:
        self._file = file
        self._new_decompressor = new_decompressor
        self._stream = new_decompressor()
        self._begun = b""

    def read(self, size: int, /) -> bytes:
        while not self._stream.eof or self._begin_next():
            data, self._begun = self._begun, b""
            if not data and self._stream.needs_input:
                data = self._file.read(PIECE)
                if not data:
                    raise EOFError("the file ended before its last block")
            piece: bytes = self._stream.decompress(data, size)
            if piece:
                return piece
        return b""

    def _begin_next(self) -> bool:
        """Begin the next stream; return False at the file's end."""
        data = self._stream.unused_data
        while not (begun := data.lstrip(b"\0")):
            data = self._file.read(PIECE)
            if not data:
                return False
        self._stream, self._begun = self._new_decompressor(), begun
        return True
