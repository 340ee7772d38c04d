"""What of a stream came already, for platforms that send the last seconds again when a connection is made anew.

Each event has a key. The keys of the last seconds are in memory, and in files beside the journal, because a killed
process must know them again. An entry of these files also says where in the journal its event ends: written before the
event is, it counts after a crash only if the event is in the journal, or was committed. So a key never suppresses an
event that got lost; where the files are lost, an event comes twice.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from aggregator.files.durable import part_of
from aggregator.files.writing import write_all
from aggregator.streams.journal import Place, Record

KEY_BYTES = 16
GENERATION_US = 10_000_000
"""The keys of one generation are those of this much of the stream's time. There are two, so that the platform may send
up to this much again."""
MOST_KEYS = 262_144
"""The most keys of one generation: 10 seconds of 25,000 events a second, 30 MB of memory."""
_ENTRY = struct.Struct(f"<{KEY_BYTES}sQQI")
"""The key, the segment and the offset behind the event, and the checksum of them."""
_CHECKED = _ENTRY.size - 4


class Overlap:
    """The keys of the newest events of one stream. One thread uses it."""

    def __init__(self, folder: Path) -> None:
        self._new_path, self._old_path = folder / "keys.new", folder / "keys.old"
        self._old: set[bytes] = set()
        self._new: set[bytes] = set()
        self._waiting: list[bytes] = []
        self._began_us = self._newest_us = 0
        self._fd, self._size = -1, 0

    def open(self, holds: Callable[[Place], bool]) -> None:
        """Read what a process before left; `holds` says whether an event got through. Raises OSError.

        Entries that do not count are removed from the files at once, because later events take their places.
        """
        entries = [entry for path in (self._old_path, self._new_path) for entry in _read(path)]
        valid = [(key, place) for key, place in entries if holds(place)]
        self._old, self._new = {key for key, _ in valid}, set()
        part = part_of(self._old_path)
        part.write_bytes(b"".join(_pack(key, place) for key, place in valid))
        part.replace(self._old_path)
        self._new_path.unlink(missing_ok=True)
        self._begin()

    def __contains__(self, key: bytes) -> bool:
        """True when the event with this key came already."""
        return key in self._new or key in self._old

    def keep(self, ends: Sequence[tuple[Record, Place]]) -> None:
        """Write down the keys of records that are about to be written, and where each will end. Raises OSError."""
        entries = [(record.key, place) for record, place in ends if record.key]
        self._waiting = [key for key, _ in entries]
        if self._fd < 0:
            self._begin()  # the disk took no new file when it should have been begun
        write_all(self._fd, b"".join(_pack(key, place) for key, place in entries))

    def confirm(self, moment_us: int) -> None:
        """Take what was kept for written; the newest of it is of this moment."""
        self._new.update(self._waiting)
        self._size += len(self._waiting) * _ENTRY.size
        self._waiting = []
        self._newest_us = max(self._newest_us, moment_us)
        self._began_us = self._began_us or self._newest_us
        if self._newest_us - self._began_us > GENERATION_US or len(self._new) > MOST_KEYS:
            self._new_path.replace(self._old_path)
            self._old, self._new, self._began_us = self._new, set(), self._newest_us
            self._begin()

    def take_back(self) -> None:
        """Remove what was kept, because its records were not written. Raises OSError."""
        self._waiting = []
        if self._fd >= 0:
            os.ftruncate(self._fd, self._size)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _begin(self) -> None:
        self.close()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._fd, self._size = os.open(self._new_path, flags, 0o640), 0


def _pack(key: bytes, place: Place) -> bytes:
    data = _ENTRY.pack(key, *place, 0)[:_CHECKED]
    return data + zlib.crc32(data).to_bytes(4, "little")


def _read(path: Path) -> list[tuple[bytes, Place]]:
    """Return the whole entries of a file, up to the first that a crash tore."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    found = []
    for at in range(0, len(data) - _ENTRY.size + 1, _ENTRY.size):
        key, segment, offset, checksum = _ENTRY.unpack_from(data, at)
        if zlib.crc32(data[at : at + _CHECKED]) != checksum:
            break
        found.append((key, Place(segment, offset)))
    return found
