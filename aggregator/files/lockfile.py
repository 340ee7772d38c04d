"""The lock file beside an output file: it notes who writes to the file, for which state, and how a write began."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec

from aggregator.files.opening import open_own
from aggregator.files.takeback import Note

_LENGTH = 4096
"""One page: a note that is written over a whole page is there whole, or not at all, when the process is killed."""


class LockFile:
    """An exclusive lock, held until the process ends.

    The output file itself is not locked: a rotation may rename it, and the file that succeeds it would have no lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def acquire(self) -> int | None:
        """Take the lock. Returns None, or the process id of its holder (0 when the file does not say it)."""
        fd = open_own(self._path, os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                return _read(fd).pid
            finally:
                os.close(fd)
        self._fd = fd
        return None

    def read(self) -> Note:
        """Return the note of the last writer."""
        return _read(self._fd)

    def write(self, note: Note) -> None:
        """Replace the note, durably."""
        text = msgspec.json.encode(note) + b"\n"
        # one short write over the old text: a note that is torn by a crash is read as no note
        os.pwrite(self._fd, text.ljust(_LENGTH), 0)
        os.fsync(self._fd)

    def release(self) -> None:
        """Release the lock; the file stays, so that nobody locks a name that is about to vanish."""
        os.close(self._fd)


def _read(fd: int) -> Note:
    try:
        return msgspec.json.decode(os.pread(fd, _LENGTH, 0), type=Note)
    except msgspec.DecodeError:
        return Note()
