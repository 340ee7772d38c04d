"""Files open for reading at an offset: plain files, and compressed files as the text that they hold."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from pathlib import Path
from typing import IO, Any, Protocol

from aggregator.files import zstd
from aggregator.files.fingerprint import HEAD_BYTES
from aggregator.files.opening import open_followed
from aggregator.logs.following.position import TextAt

CODECS = {".gz": "gz", ".bz2": "bz2", ".xz": "xz", ".zst": "zst"}
_BROKEN = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, zstd.ZstdError, ValueError)
_CHUNK = 256 * 1024
_ZSTD_BOUNDS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 27}
"""128 MB, the most memory that a zstd frame may ask for: the limit that the command `zstd` has by default."""


class OpenFile(Protocol):
    """The operations that reading lines needs of an open file."""

    codec: str
    broken: str
    """Why the text breaks off, for a compressed file that is damaged or still being written."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the end."""

    def stat(self) -> os.stat_result:
        """Return the facts of the open file, whatever its name is by now."""

    def close(self) -> None:
        """Close the file."""


def open_file(path: Path) -> OpenFile:
    """Open a file, decompressed by its suffix.

    Raises OSError, also for anything that is no regular file, and for a link that is not followed.
    """
    codec = CODECS.get(path.suffix, "")
    return CompressedFile(path, codec) if codec else PlainFile(path)


def key_of(file: OpenFile) -> tuple[int, int]:
    """Return device and inode of an open file."""
    facts = file.stat()
    return facts.st_dev, facts.st_ino


def text_in(file: OpenFile) -> TextAt:
    """Return a function that reads the text of an open file."""
    return lambda at: file.read_at(at, HEAD_BYTES)


def end_of_text(file: OpenFile, size: int) -> tuple[int, bytes]:
    """Return where the last `size` bytes of a file's text begin, and the bytes; this unpacks a compressed file."""
    at, last = (0 if file.codec else max(file.stat().st_size - size, 0)), b""
    while piece := file.read_at(at, _CHUNK):
        last = (last + piece)[-size:]
        at += len(piece)
    return at - len(last), last


class PlainFile:
    """A log that is not compressed."""

    codec = ""
    broken = ""

    def __init__(self, path: Path) -> None:
        self._fd = open_followed(path, os.O_RDONLY)

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the end."""
        return os.pread(self._fd, size, offset)

    def stat(self) -> os.stat_result:
        """Return the facts of the open file, whatever its name is by now."""
        return os.fstat(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class CompressedFile:
    """A rotated log that was compressed. Offsets count its decompressed text; reading is cheap only where they grow."""

    def __init__(self, path: Path, codec: str) -> None:
        self.codec = codec
        self.broken = ""
        self._file = os.fdopen(open_followed(path, os.O_RDONLY), "rb")
        self._rewind()

    def _rewind(self) -> None:
        self._file.seek(0)
        self._stream: IO[bytes] = _decompress(self._file, self.codec)
        self._window = b""
        self._window_at = 0
        self.broken = ""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the end, or where `broken` says why."""
        if offset < self._window_at or self.broken:
            self._rewind()
        pieces, have = [self._window], len(self._window)
        while self._window_at + have < offset + size:
            piece = self._next()
            if not piece:
                break
            pieces.append(piece)
            have += len(piece)
            if self._window_at + have <= offset:  # all of these pieces lie before the offset: keep memory small
                self._window_at += have
                pieces, have = [], 0
        text = b"".join(pieces)
        skipped = min(max(offset - self._window_at, 0), len(text))
        self._window, self._window_at = text[skipped:], self._window_at + skipped
        return self._window[:size] if self._window_at == offset else b""

    def _next(self) -> bytes:
        try:
            return self._stream.read1(_CHUNK)  # type: ignore[attr-defined, no-any-return]
        except _BROKEN as error:
            self.broken = str(error) or type(error).__name__
        except OSError as error:
            if error.errno is not None:  # the disk failed, not the stream
                raise
            self.broken = str(error)
        return b""

    def stat(self) -> os.stat_result:
        """Return the facts of the compressed file."""
        return os.fstat(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _decompress(file: IO[bytes], codec: str) -> Any:
    if codec == "gz":
        return gzip.GzipFile(fileobj=file, mode="rb")
    if codec == "zst":
        return _ZstdStream(file)
    return bz2.BZ2File(file) if codec == "bz2" else lzma.LZMAFile(file)


class _ZstdStream:
    """The text of zstd frames; a file that ends too early is told from a whole one."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._frame: zstd.ZstdDecompressor | None = None

    def read1(self, size: int) -> bytes:
        """Return the next piece of the text, whatever `size` says; empty at its end. Raises EOFError, ZstdError."""
        while True:
            frame = self._frame
            if frame is None or frame.eof:
                packed = (frame.unused_data if frame else b"") or self._file.read(_CHUNK)
                if not packed:
                    return b""
                frame = self._frame = zstd.ZstdDecompressor(options=_ZSTD_BOUNDS)
            else:
                packed = self._file.read(_CHUNK) if frame.needs_input else b""
                if frame.needs_input and not packed:
                    raise EOFError("Compressed file ended before the end-of-stream marker was reached")
            text = frame.decompress(packed, _CHUNK)
            if text:
                return text
