"""Take back lines that were written to an appended file but never committed, because a crash came in between.

A line is removed only when the state for which it was written says that it was not committed. A note beside the file
names that state. Where note and cursor do not fit together, every line stays: a line twice is better than a line lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from aggregator.files.fingerprint import HEAD_BYTES, fingerprint
from aggregator.files.opening import open_followed
from aggregator.files.rotatednames import bases


class FileEnd(msgspec.Struct):
    """A place between two writes, which was the end of the file once; as text it is the cursor.

    The device number is not kept: it may change with a restart of the machine, while the folder stays the same.
    """

    generation: int = 0
    """Each opening of the file, and each truncation by others, begins a new generation: its time in microseconds, so
    that no two sections or states ever use the same number. 0 when nothing is known."""
    ino: int = 0
    size: int = 0
    tail: str = ""
    """The hash of the last bytes before the place, because the inode may belong to another file by now."""


def generation_of(cursor: str) -> int:
    """Return the generation of a place that was stored as text."""
    return msgspec.json.decode(cursor, type=FileEnd).generation


class Note(msgspec.Struct, omit_defaults=True):
    """What the last writer noted beside the file."""

    pid: int = 0
    """0 when there is no note, or none that can be read."""
    place: FileEnd = msgspec.field(default_factory=FileEnd)
    """Where the first write of the last generation begins."""
    end: int = 0
    head: bytes = b""
    """The first bytes of the write; after a crash the rest of it may be missing."""
    state: str | None = None
    """The id of the Redis state for which the lines were written; None in a note of a version that did not name it."""
    owner: str = ""
    """Node and section of the writer."""
    known: FileEnd | None = None
    """The place that was committed when the generation began; None when there was none."""
    first: bool = True
    """True until the second write of the generation: only until then the first write may be uncommitted."""
    old: int = 0
    """The size up to which everything was committed for a minute or longer."""
    clean: bool = False
    """True when everything written was committed: the writer was stopped, and did not crash."""


class Judgement(NamedTuple):
    """The bytes that may be taken back."""

    behind: FileEnd | None = None
    """The bytes behind this place were not committed."""
    first: bool = False
    """The noted first write was not committed."""
    doubt: str = ""
    """Why lines stay although they may come a second time; empty when there are no such lines."""


class Cut(NamedTuple):
    """The bytes that were taken back from a file."""

    path: Path
    bytes: int


def judge(committed: FileEnd | None, note: Note, state: str, owner: str) -> Judgement:
    """Decide what the current state says about the last writes; `owner` is the node and section that ask."""
    if note.state is None:
        return _judge_old(committed, note)
    if note.state != state:
        return Judgement(doubt="" if note.clean else "they were written for another state of Redis")
    if committed is not None and _is_of(committed, note):
        if committed.size < note.old:
            return Judgement(doubt="Redis knows an older state of the file than it did a minute before the last write")
        return Judgement() if note.clean else Judgement(behind=committed)
    if note.clean and committed in (None, note.known):
        return Judgement()
    if not note.clean and note.first and committed == note.known and (committed is not None or note.owner == owner):
        return Judgement(first=True)
    return Judgement(doubt="Redis does not know any more what was committed last")


def _judge_old(committed: FileEnd | None, note: Note) -> Judgement:
    """Judge by the note of an earlier version, or without a note: only a cursor that fits the note proves something."""
    if committed is None:
        return Judgement(doubt="an earlier version wrote them, and Redis knows nothing of it" if note.end else "")
    if not committed.tail:
        return Judgement()
    if not note.pid:
        return Judgement(doubt="the note beside it is gone")
    if _is_of(committed, note):
        return Judgement(behind=committed)
    moved_on = committed.ino == note.place.ino and committed.size != note.place.size
    if committed.generation < note.place.generation and not moved_on:
        return Judgement(first=True)
    return Judgement(doubt="the note beside it is about other writes")


def _is_of(committed: FileEnd, note: Note) -> bool:
    """True when a committed place belongs to the generation that wrote last."""
    place = note.place
    return (committed.generation, committed.ino) == (place.generation, place.ino) and committed.size >= note.end


def end_in(fd: int, generation: int, size: int) -> FileEnd:
    """Return the place at `size` of an open file."""
    return FileEnd(generation, os.fstat(fd).st_ino, size, _tail(fd, size))


def take_back(path: Path, judgement: Judgement, note: Note) -> Iterator[Cut]:
    """Cut uncommitted bytes off the file, which has the path's name or a rotated name. Raises OSError."""
    if judgement.behind is not None:
        yield from _cut(path, judgement.behind)
    if judgement.first:
        yield from _cut(path, note.place, note)


def behind(path: Path, place: FileEnd) -> int:
    """Return how many bytes stand behind a place; 0 also when the file is not found. Raises OSError."""
    found = _find(path, place.ino)
    return max(found.stat().st_size - place.size, 0) if found is not None else 0


def _cut(path: Path, place: FileEnd, first: Note | None = None) -> Iterator[Cut]:
    found = _find(path, place.ino)
    if found is None:
        return
    fd = open_followed(found, os.O_RDWR)
    try:
        left_over = os.fstat(fd).st_size - place.size
        if left_over > 0 and end_in(fd, place.generation, place.size) == place and (not first or _is_all(fd, first)):
            os.ftruncate(fd, place.size)
            os.fsync(fd)
            yield Cut(found, left_over)
    finally:
        os.close(fd)


def _find(path: Path, ino: int) -> Path | None:
    """Return the file with this inode: the path itself, or a rotated file beside it."""
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


def _is_all(fd: int, first: Note) -> bool:
    """True when nothing but this write, or a part of it, stands behind the write's place."""
    written = os.pread(fd, len(first.head), first.place.size)
    return os.fstat(fd).st_size <= first.end and first.head.startswith(written)
