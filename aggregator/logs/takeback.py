"""What a crash left in an appended file: lines that were written but never committed are taken back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from aggregator.logs.position import HEAD_BYTES, fingerprint
from aggregator.logs.rotation import bases


class Place(msgspec.Struct):
    """An end of the file between two writes; as text it is the cursor.

    The device is not kept: it may have another number after a restart of the machine, the folder stays the same.
    """

    generation: int = 0
    """Grows with every opening of the file and every truncation by others; 0 when nothing is known."""
    ino: int = 0
    size: int = 0
    tail: str = ""
    """The hash of the last bytes before it: an inode may be another file's by now."""


class FirstWrite(msgspec.Struct):
    """The first write of a generation: it was committed only if a cursor or a second write says so."""

    pid: int = 0
    place: Place = msgspec.field(default_factory=Place)
    """Where it begins."""
    end: int = 0
    head: bytes = b""
    """The first bytes written: more may not be there after a crash."""


class Cut(NamedTuple):
    """What was taken back from a file."""

    path: Path
    bytes: int


def place_in(fd: int, generation: int, size: int) -> Place:
    """Return the place at `size` of an open file."""
    return Place(generation, os.fstat(fd).st_ino, size, _tail(fd, size))


def take_back(path: Path, last: Place, first: FirstWrite) -> Iterator[Cut]:
    """Cut what is behind the last commit off the file, under the path's name or a rotated one. Raises OSError."""
    if last.tail:
        yield from _cut(path, last)
    if first.place.generation > last.generation:
        # No commit of this generation is known. Behind its first write there is another only if the first was
        # committed: then Redis has forgotten it, and all lines are kept.
        yield from _cut(path, first.place, first)


def _cut(path: Path, place: Place, first: FirstWrite | None = None) -> Iterator[Cut]:
    found = _find(path, place.ino)
    if found is None:
        return
    fd = os.open(found, os.O_RDWR | os.O_CLOEXEC)
    try:
        left_over = os.fstat(fd).st_size - place.size
        if left_over > 0 and place_in(fd, place.generation, place.size) == place and (not first or _is_all(fd, first)):
            os.ftruncate(fd, place.size)
            os.fsync(fd)
            yield Cut(found, left_over)
    finally:
        os.close(fd)


def _find(path: Path, ino: int) -> Path | None:
    """Return the file of this inode: the path's own, or a rotated one beside it."""
    with os.scandir(path.parent) as entries:
        return next(
            (
                Path(entry.path)
                for entry in entries
                if entry.inode() == ino and path.name in (entry.name, *bases(entry.name)) and entry.is_file()
            ),
            None,
        )


def _tail(fd: int, size: int) -> str:
    at = max(size - HEAD_BYTES, 0)
    return fingerprint(os.pread(fd, size - at, at))


def _is_all(fd: int, first: FirstWrite) -> bool:
    """True when nothing but this write, or a part of it, stands behind its place."""
    written = os.pread(fd, len(first.head), first.place.size)
    return os.fstat(fd).st_size <= first.end and first.head.startswith(written)
