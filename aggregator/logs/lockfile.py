"""The file that stands beside an output file: who writes to it, and how it began."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec

from aggregator.logs.takeback import FirstWrite

_LENGTH = 512


class LockFile:
    """An exclusive lock, held until the process ends.

    It is not the output file that is locked: that one may be renamed by a rotation, and its successor would be free.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def acquire(self) -> int | None:
        """Take the lock. Returns None, or the process id of who has it (0 when it does not say)."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                return _read(fd).pid
            finally:
                os.close(fd)
        self._fd = fd
        return None

    def read(self) -> FirstWrite:
        """Return what the last writer noted."""
        return _read(self._fd)

    def write(self, first: FirstWrite) -> None:
        """Note a first write, durably, before it is made."""
        text = msgspec.json.encode(first) + b"\n"
        # one short write over the old text: what is torn by a crash reads as nothing
        os.pwrite(self._fd, text.ljust(_LENGTH), 0)
        os.fsync(self._fd)

    def release(self) -> None:
        """Let the lock go; the file stays, so that nobody locks a name that is about to vanish."""
        os.close(self._fd)


def _read(fd: int) -> FirstWrite:
    try:
        return msgspec.json.decode(os.pread(fd, _LENGTH, 0), type=FirstWrite)
    except msgspec.DecodeError:
        return FirstWrite()
