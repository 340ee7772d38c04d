"""Compress and decompress streams in four formats, always the same bytes for the same input.

Figures are for 12 real captures of 130 KB in a row, against `bz2 -9`; a whole hour is in docs/feeds.md.
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
"""Bytes handed over at a time."""
MAX_WINDOW = 27
"""128 MB: what every zstd decompresses without being asked to."""
MAX_XZ_MEMORY = 1 << 28

_MAGIC = {b"\x28\xb5\x2f\xfd": "zst", b"BZh": "bz2", b"\x1f\x8b": "gz", b"\xfd7zXZ\x00": "xz"}


class BadBundle(AggregatorError):
    """Do not use this bundle: it is damaged, hostile or no bundle at all. The text says why."""


class Readable(Protocol):
    """What bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Return at most this many bytes; none at the end."""
        ...


class Compressor(Protocol):
    """What zlib, bz2, lzma and zstd agree on."""

    def compress(self, data: bytes, /) -> bytes:
        """Take a piece; return what is ready."""
        ...

    def flush(self) -> bytes:
        """Return the rest."""
        ...


def compressed(pieces: Iterable[bytes], compressor: Compressor) -> Iterator[bytes]:
    """Yield the compressed form of a stream.

    The pieces are cut anew to one size: how a stream happened to arrive must not show in its bytes.
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
        # Neither protocol buffers nor text are aligned to four bytes, which is what `pb` is for: 0.04 smaller without.
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
    many near ones. What helps is a window over a few captures and a deep search in it.
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
    """What is inside a file of any of the four formats. The memory this takes is bounded, whatever made the file.

    Raises BadBundle when the file is in none of them, damaged or cut, or something else follows in it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._inside = _open(file)

    def read(self, size: int) -> bytes:
        """Return this many bytes, fewer only at the end."""
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
            # gzip and bz2 say so by an OSError of their own, without a number; the disk's have one.
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
    """One stream after the other up to the file's end, of which the library's own readers are not so sure.

    Zeros may follow a stream: xz knows such a padding, and tapes need it.
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
        """Begin with the next stream. False at the file's end."""
        data = self._stream.unused_data
        while not (begun := data.lstrip(b"\0")):
            data = self._file.read(PIECE)
            if not data:
                return False
        self._stream, self._begun = self._new_decompressor(), begun
        return True
