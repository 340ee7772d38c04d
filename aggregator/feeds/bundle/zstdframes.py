"""Does a zstd file end where its last frame does?

The library's reader, the only one whose memory is bounded, takes a frame that lacks the end of its checksum for whole.
So the frames are followed from header to header beside it (RFC 8878, section 3.1).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_RLE = 1


class Readable(Protocol):
    """What bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Return at most this many bytes; none at the end."""
        ...


class WholeFrames:
    """Hand on what is read of a zstd file. Raises EOFError when it ends inside a frame."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._parts = _parts()
        self._wanted, self._is_kept = next(self._parts)
        self._kept = b""
        self._is_inside = False

    def read(self, size: int, /) -> bytes:
        """Return at most this many bytes; none at the end."""
        data = self._file.read(size)
        if not data and self._is_inside:
            raise EOFError("the file ended inside a frame")
        self._follow(data)
        return data

    def _follow(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            piece = data[at : at + self._wanted] if self._is_kept else b""
            taken = min(self._wanted, len(data) - at)
            at += taken
            self._wanted -= taken
            self._kept += piece
            self._is_inside = True
            while not self._wanted:
                number, self._kept = int.from_bytes(self._kept, "little"), b""
                self._wanted, self._is_kept = self._parts.send(number)
                if self._wanted < 0:
                    self._is_inside = False
                    self._wanted, self._is_kept = next(self._parts)


def _parts() -> Generator[tuple[int, bool], int, None]:
    """Yield how long each part of a file is, and whether its number is to be sent back; -1 after a frame."""
    while True:
        if (yield 4, True) in _SKIPPABLE:
            yield (yield 4, True), False
        else:
            yield from _frame()
        yield -1, False


def _frame() -> Generator[tuple[int, bool], int, None]:
    descriptor = yield 1, True
    size_flag, is_single, has_checksum, id_flag = (
        descriptor >> 6,
        descriptor >> 5 & 1,
        descriptor >> 2 & 1,
        descriptor & 3,
    )
    size_bytes = 1 if is_single and not size_flag else (0, 2, 4, 8)[size_flag]
    yield (not is_single) + (0, 1, 2, 4)[id_flag] + size_bytes, False
    is_last = 0
    while not is_last:
        header = yield 3, True
        is_last, kind, size = header & 1, header >> 1 & 3, header >> 3
        yield 1 if kind == _RLE else size, False
    yield 4 * has_checksum, False
