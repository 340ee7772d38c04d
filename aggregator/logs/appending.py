"""A file that only grows, by whole writes, with a known committed length: what a crash left over is taken back."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from aggregator.durable import sync_folder
from aggregator.errors import Unavailable
from aggregator.logs.lockfile import LockFile
from aggregator.logs.takeback import FirstWrite, Place, place_in, take_back
from aggregator.runtime.stage import Context

_NOTED = 64
"""So many of the first bytes written are noted."""


class AppendedFile:
    """Append to a path, under an exclusive lock, across rotation by others."""

    def __init__(self, path: Path, mode: int, context: Context) -> None:
        self.path = path
        self._mode = mode
        self._context = context
        self._lock = LockFile(path.with_name(f".{path.name}.lock"))
        self._fd = -1
        self._ino = 0
        self._size = 0
        """The length up to which everything is known to be whole."""
        self._dirty = False
        """True when a write failed and what it left may still be there."""
        self._generation = 0
        self._fresh = True
        """True until the first write of a generation."""

    def acquire(self, committed: str | None) -> None:
        """Lock the file, and take back what was written but never committed. Raises Unavailable."""
        try:
            self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            holder = self._lock.acquire()
        except OSError as error:
            raise Unavailable(f"cannot lock {self.path}: {error.strerror}") from error
        if holder is not None:
            raise Unavailable(f"{self.path} is held by pid {holder}", pause_s=1.0)
        try:
            self._take_back(committed)
        except OSError as error:
            self._lock.release()
            raise Unavailable(f"cannot recover {self.path}: {error.strerror}") from error

    def release(self) -> None:
        """Close the file and let the lock go."""
        self._close()
        self._lock.release()

    def append(self, data: bytes) -> str:
        """Write all of it durably; return the text of the cursor to commit. Raises Unavailable, having written none."""
        try:
            self._reopen()
            self._write(data)
        except OSError as error:
            raise Unavailable(f"cannot write {self.path}: {error.strerror or error}") from error
        return msgspec.json.encode(place_in(self._fd, self._generation, self._size)).decode()

    def _take_back(self, committed: str | None) -> None:
        last = msgspec.json.decode(committed, type=Place) if committed else Place()
        first = self._lock.read()
        for path, left_over in take_back(self.path, last, first):
            self._context.log.warning("taken_back path=%s bytes=%d: written but not committed", path, left_over)
        self._generation = last.generation
        first.pid = os.getpid()
        self._lock.write(first)

    # Writing

    def _reopen(self) -> None:
        """Open the file unless it is open and its name still leads to it."""
        found = _inode(self.path)
        if self._fd >= 0 and found == self._ino:
            return
        self._close()
        # O_APPEND: whoever truncates the file at this moment leaves no hole in it
        fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, self._mode)
        facts = os.fstat(fd)
        self._fd, self._ino, self._size, self._fresh = fd, facts.st_ino, facts.st_size, True
        if not found:
            os.fchmod(fd, self._mode)  # whatever the umask is
            sync_folder(self.path.parent)
        self._context.log.info("open path=%s size=%d", self.path, self._size)

    def _write(self, data: bytes) -> None:
        self._clean()
        self._notice_others()
        if self._fresh:
            # order: note the write, then write: no cursor is of this generation yet, and a crash may come before it
            self._generation += 1
            place = place_in(self._fd, self._generation, self._size)
            self._lock.write(FirstWrite(os.getpid(), place, self._size + len(data), data[:_NOTED]))
        self._dirty = True
        try:
            _write_all(self._fd, data)
            os.fsync(self._fd)
        except OSError:
            self._clean()
            raise
        self._size = os.fstat(self._fd).st_size
        self._dirty = self._fresh = False

    def _clean(self) -> None:
        """Take back what a failed write left, unless somebody truncated the file below it meanwhile."""
        if self._dirty and os.fstat(self._fd).st_size > self._size:
            os.ftruncate(self._fd, self._size)
        self._dirty = False

    def _notice_others(self) -> None:
        found = os.fstat(self._fd).st_size
        if found > self._size:
            self._context.log.warning(
                "foreign path=%s bytes=%d: somebody else writes to this file", self.path, found - self._size
            )
        elif found < self._size:
            self._context.log.info("truncated path=%s from=%d to=%d: by somebody else", self.path, self._size, found)
            self._fresh = True
        self._size = found

    def _close(self) -> None:
        if self._fd >= 0:
            self._clean()
            os.close(self._fd)
            self._fd = -1


def _inode(path: Path) -> int:
    """Return 0 when there is no such file."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
