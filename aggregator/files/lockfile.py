"""The file that stands beside an output file: who writes to it, for which state, and how it began."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec

from aggregator.files.opening import open_own
from aggregator.files.takeback import Note

_LENGTH = 4096
"""One page: what is written over it as a whole is there as a whole, or not at all, when the process is killed."""


class LockFile:
    """An exclusive lock, held until the process ends.

    It is not the output file that is locked: that one may be renamed by a rotation, and its successor would be free.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def acquire(self) -> int | None:
        """Take the lock. Returns None, or the process id of who has it (0 when it does not say)."""
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
        """Return what the last writer noted."""
        return _read(self._fd)

    def write(self, note: Note) -> None:
        """Replace the note, durably."""
        text = msgspec.json.encode(note) + b"\n"
        # one short write over the old text: what is torn by a crash reads as nothing
        os.pwrite(self._fd, text.ljust(_LENGTH), 0)
        os.fsync(self._fd)

    def release(self) -> None:
        """Let the lock go; the file stays, so that nobody locks a name that is about to vanish."""
        os.close(self._fd)


def _read(fd: int) -> Note:
    try:
        return msgspec.json.decode(os.pread(fd, _LENGTH, 0), type=Note)
    except msgspec.DecodeError:
        return Note()
