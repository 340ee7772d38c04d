"""The journal of a stream: what was received and is not committed yet, on the disk.

The thread that reads the platform appends, and the worker takes from the front what it commits. So the reader never
waits for Redis, and a killed worker loses nothing that was received. The journal is a row of segments; a segment whose
records are all committed is removed. Records that are committed within a second are never synced: they need not be.

What is damaged on the disk becomes a hole: a record of the same size that says since when and until when records are
missing, so that every other record keeps its place.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from aggregator.files.writing import write_all

SEGMENT_BYTES = 16 * 1024**2
_HEAD = struct.Struct("<IIqH")
"""The size of the body, the checksum of all that follows it, the time in Unix milliseconds, the size of the mark."""
_HOLE = 1 << 31
"""This bit of the body's size tells a hole from a record."""
_SINCE = struct.Struct("<q")
"""How the body of a hole begins: its `since_ms`."""
_DAY_MS = 86_400_000
_READ = 1024**2
_SUFFIX = ".journal"
_STREAMS = "data/streams"


class Place(NamedTuple):
    """A place between two records."""

    segment: int = 0
    offset: int = 0


class Record(NamedTuple):
    """One message on its way to the queue."""

    body: bytes
    at_ms: int
    """When it was received."""
    mark: str = ""
    """From where the platform is to go on once this record is committed; empty where that did not change."""
    key: bytes = b""
    """By what the event is known when it comes again; it is not written into the journal."""
    since_ms: int | None = None
    """Of a hole: what was received since then and until `at_ms` is damaged, and `body` says nothing; else None."""


def folder_of(root: Path, stream: str) -> Path:
    """Return where the journal of a stream lies in an instance's folder."""
    return root / _STREAMS / f".{stream}{_SUFFIX}"


def journals_in(root: Path) -> dict[str, int]:
    """Return how many bytes wait in the journal of each stream, by its name; a part of them may be committed."""
    return {
        folder.name[1 : -len(_SUFFIX)]: sum(map(_size_on_disk, folder.glob(f"*{_SUFFIX}")))
        for folder in sorted((root / _STREAMS).glob(f".*{_SUFFIX}"))
    }


Keep = Callable[[Sequence[tuple[Record, Place]]], None]
"""Take records that are about to be written, and where each will end."""


class Journal:
    """Append in one thread, take in another."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        """`most_bytes` bounds what waits; appending fails beyond it."""
        self._folder = folder
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._sizes: dict[int, int] = {}
        """The size of each segment, in their order."""
        self._write_fd = self._read_fd = -1
        self._read_segment = 0
        self._read_at = self._committed = self._opened_at = Place()
        self._buffer: deque[Record] = deque()
        self._unsynced = False
        self._full_fds: list[int] = []
        """Segments that are full and were not synced."""
        self._taken_ms = 0
        """When the record that was taken last was received."""
        self.torn_bytes = 0
        """How many bytes `open` cut off, because they were no whole record."""
        self.last: Record | None = None
        """The newest record, without its body; its mark is the newest one known. None when the journal has none."""

    def open(self, committed: Place) -> None:
        """Find what a process before left behind the committed place. Raises OSError."""
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._opened_at = committed
        numbers = sorted(int(path.stem) for path in self._folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())
        for number in numbers:
            if number < committed.segment:
                self._path(number).unlink(missing_ok=True)
                continue
            begin = committed.offset if number == committed.segment else 0
            self._sizes[number] = self._scan(number, begin, [later for later in numbers if later > number])
        newest = max([committed.segment, *self._sizes])
        first = min(self._sizes, default=newest + 1)
        self._read_at = self._committed = committed if committed.segment in self._sizes else Place(first)
        # a new segment: nobody appends to a file whose last record may have been torn
        self._begin(newest + 1)

    def holds(self, end: Place) -> bool:
        """True for the end of a record that was committed, or is there, as `open` found it."""
        return end <= self._opened_at or end.offset <= self._sizes.get(end.segment, 0)

    def append(self, records: list[Record], keep: Keep | None = None) -> bool:
        """Add records. Returns False, having added none, when the journal is full. Raises OSError likewise.

        `keep` is called before they are written; it may raise OSError.
        """
        data = b"".join(_pack(record) for record in records)
        with self._lock:
            if self.waiting_bytes + len(data) > self._most_bytes:
                return False
            segment = next(reversed(self._sizes))
            size = self._sizes[segment]
            if size and size + len(data) > SEGMENT_BYTES:
                segment, size = self._begin(segment + 1), 0
            if keep is not None:
                ends = accumulate(map(_size, records), initial=size)
                keep(
                    [(record, Place(segment, end)) for record, end in zip(records, islice(ends, 1, None), strict=True)]
                )
            try:
                write_all(self._write_fd, data)
            except OSError:
                os.ftruncate(self._write_fd, size)
                raise
            self._sizes[segment] = size + len(data)
            self._unsynced = True
            self._remember(records[-1], next((r.mark for r in reversed(records) if r.mark), ""))
        return True

    def take(self, most: int) -> tuple[list[Record], Place]:
        """Return up to `most` of the records that were not taken, the oldest first, and the place behind them."""
        found: list[Record] = []
        while len(found) < most:
            if not self._buffer and not self._fill():
                break
            record = self._buffer.popleft()
            self._read_at = self._read_at._replace(offset=self._read_at.offset + _size(record))
            self._taken_ms = record.at_ms
            found.append(record)
        return found, self._read_at

    def take_again(self, place: Place) -> None:
        """Take from a place on once more; it is the one that was committed last."""
        self._read_at = place
        self._buffer.clear()

    def commit(self, place: Place) -> None:
        """Forget what lies before a place: it is committed."""
        with self._lock:
            self._committed = place
            for number in [number for number in self._sizes if number < place.segment]:
                del self._sizes[number]
                self._path(number).unlink(missing_ok=True)

    def sync(self) -> None:
        """Make durable what waits. Raises OSError."""
        with self._lock:
            handles, self._full_fds = self._full_fds, []
            is_waiting = bool(self.waiting_bytes)
            if self._unsynced and is_waiting:
                handles.append(os.dup(self._write_fd))
                self._unsynced = False
        try:
            for handle in handles if is_waiting else ():
                os.fsync(handle)  # not under the lock: the reader must not wait for a slow disk
        finally:
            for handle in handles:
                os.close(handle)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes are not committed."""
        return sum(self._sizes.values()) - (self._committed.offset if self._committed.segment in self._sizes else 0)

    @property
    def is_taken(self) -> bool:
        """True when everything was taken."""
        with self._lock:
            newest = next(reversed(self._sizes))
            rest = sum(size for number, size in self._sizes.items() if number > self._read_at.segment)
            at = self._read_at
            is_at_end = at.segment > newest or at.offset >= self._sizes.get(at.segment, 0)
            return not self._buffer and not rest and is_at_end

    def close(self) -> None:
        """Make durable what waits, and close the files; when nothing waits, no file stays. Raises OSError."""
        self.sync()
        if not self.waiting_bytes:
            for number in self._sizes:
                self._path(number).unlink(missing_ok=True)
        for handle in (self._write_fd, self._read_fd):
            if handle >= 0:
                os.close(handle)
        self._write_fd = self._read_fd = -1

    def _fill(self) -> bool:
        """Read records into the buffer. Returns False when there are no more."""
        while True:
            with self._lock:
                size = self._sizes.get(self._read_at.segment, 0)
                following = next((number for number in self._sizes if number > self._read_at.segment), None)
            if self._read_at.offset < size:
                break
            if following is None:
                return False
            self._read_at = Place(following)
        if self._read_segment != self._read_at.segment or self._read_fd < 0:
            if self._read_fd >= 0:
                os.close(self._read_fd)
            self._read_fd = os.open(self._path(self._read_at.segment), os.O_RDONLY | os.O_CLOEXEC)
            self._read_segment = self._read_at.segment
        wanted = size - self._read_at.offset
        data = os.pread(self._read_fd, min(wanted, _READ), self._read_at.offset)
        if len(data) < wanted and (need := _first_size(data)) > len(data):
            data = os.pread(self._read_fd, min(need, wanted), self._read_at.offset)
        self._buffer.extend(_unpack(data) or self._bridge(self._read_at, size))
        return bool(self._buffer)

    def _bridge(self, place: Place, size: int) -> list[Record]:
        """Put a hole in the place of what was damaged while the process ran, and return it. Raises OSError."""
        assert self.last is not None
        with self._path(place.segment).open("r+b") as file:
            file.seek(place.offset)
            rest = file.read(size - place.offset)
            end, at_ms = _next_whole(rest) or (size - place.offset, self.last.at_ms)
            hole = _hole(self._taken_ms or _own_ms(rest, at_ms), at_ms, end)
            file.seek(place.offset)
            file.write(hole)
        return _unpack(hole)

    def _first_ms(self, numbers: Sequence[int]) -> int | None:
        """Return when the first record in these segments was received; None when there is none."""
        for number in numbers:
            data = self._path(number).read_bytes()
            if record := _whole_at(data, 0):
                return record.at_ms
            if found := _next_whole(data):
                return found[1]
        return None

    def _scan(self, number: int, begin: int, later: Sequence[int]) -> int:
        """Return how many bytes of a segment are whole records.

        What is damaged before other records, here or in `later` segments, becomes a hole. A record at the end of all,
        which a crash tore, is cut off.
        """
        with self._path(number).open("r+b") as file:
            end, rest = self._scan_whole(file, begin)
            while rest:
                found = _next_whole(rest)
                if found is None and (following_ms := self._first_ms(later)) is not None:
                    found = max(len(rest), _HEAD.size + _SINCE.size), following_ms
                if found is None:
                    self.torn_bytes += len(rest)
                    break
                size, at_ms = found
                file.seek(end)
                file.write(_hole(self.last.at_ms if self.last else _own_ms(rest, at_ms), at_ms, size))
                end, rest = self._scan_whole(file, end)
            file.truncate(end)
        return end

    def _scan_whole(self, file: BinaryIO, begin: int) -> tuple[int, bytes]:
        """Return where the whole records from a place on end, and what follows them."""
        file.seek(begin)
        end, rest = begin, b""
        while piece := file.read(_READ):
            rest += piece
            records = _unpack(rest)
            whole = sum(map(_size, records))
            end += whole
            rest = rest[whole:]
            for record in records:
                self._remember(record, record.mark)
        return end, rest

    def _remember(self, record: Record, mark: str) -> None:
        self.last = Record(b"", record.at_ms, mark or (self.last.mark if self.last else ""))

    def _begin(self, number: int) -> int:
        if self._write_fd >= 0:
            self._full_fds.append(self._write_fd)
            self._unsynced = False
        self._write_fd = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._sizes[number] = 0
        return number

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012}{_SUFFIX}"


def _size_on_disk(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a running worker has committed it meanwhile
        return 0


def _pack(record: Record) -> bytes:
    mark = record.mark.encode()
    checksum = zlib.crc32(record.body, zlib.crc32(mark, record.at_ms & 0xFFFFFFFF))
    return b"".join((_HEAD.pack(len(record.body), checksum, record.at_ms, len(mark)), mark, record.body))


def _size(record: Record) -> int:
    return _HEAD.size + len(record.mark.encode()) + len(record.body)


def _first_size(data: bytes) -> int:
    """Return the size of the first record in `data`."""
    if len(data) < _HEAD.size:
        return _HEAD.size
    body, _, _, mark = _HEAD.unpack_from(data)
    return int(_HEAD.size + mark + (body & ~_HOLE))


def _unpack(data: bytes) -> list[Record]:
    """Return the whole records at the beginning of `data`; they end where a checksum does not fit."""
    found, at = [], 0
    while record := _whole_at(data, at):
        found.append(record)
        at += _size(record)
    return found


def _whole_at(data: bytes, at: int) -> Record | None:
    """Return the record that begins at a place of `data`; None when it is not whole."""
    if at + _HEAD.size > len(data):
        return None
    flagged, checksum, at_ms, mark_size = _HEAD.unpack_from(data, at)
    begin = at + _HEAD.size
    middle = begin + mark_size
    end = middle + (flagged & ~_HOLE)
    # zeros, as a file system leaves them after a crash, would have the right checksum
    if end > len(data) or at_ms <= 0:
        return None
    mark, body = data[begin:middle], data[middle:end]
    if zlib.crc32(body, zlib.crc32(mark, at_ms & 0xFFFFFFFF)) != checksum:
        return None
    if not flagged & _HOLE:
        return Record(body, at_ms, mark.decode())
    since_ms = _SINCE.unpack_from(body)[0] if len(body) >= _SINCE.size else at_ms
    return Record(body, at_ms, since_ms=since_ms)


def _next_whole(data: bytes) -> tuple[int, int] | None:
    """Return where behind the damaged record at the beginning of `data` a whole one begins, and its time."""
    # most often the body alone is damaged, and its size is right
    for at in chain([_first_size(data)], range(_HEAD.size, len(data) - _HEAD.size)):
        if (record := _whole_at(data, at)) and record.body:
            return at, record.at_ms
    return None


def _own_ms(data: bytes, at_ms: int) -> int:
    """Return the time that a damaged record says, when it may be right: at most a day before the next one."""
    own_ms: int = _HEAD.unpack_from(data)[2] if len(data) >= _HEAD.size else at_ms
    return own_ms if at_ms - _DAY_MS <= own_ms <= at_ms else at_ms


def _hole(since_ms: int, at_ms: int, size: int) -> bytes:
    """Return a hole of this size, with its head."""
    body = _SINCE.pack(min(since_ms, at_ms)).ljust(size, b"\0")[: size - _HEAD.size]
    return _HEAD.pack(len(body) | _HOLE, zlib.crc32(body, at_ms & 0xFFFFFFFF), at_ms, 0) + body
