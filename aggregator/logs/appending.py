"""A file that only grows, by whole writes, with a known committed length: what a crash left over is taken back."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from aggregator.errors import Unavailable
from aggregator.logs.lockfile import LockFile
from aggregator.runtime.stage import Context


class Committed(msgspec.Struct):
    """How long the file was at the last commit.

    The device is not kept: it may have another number after a restart of the machine, the folder stays the same.
    """

    ino: int
    size: int


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
        self._fresh = True
        """True until the first write to the file just opened."""

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
        return msgspec.json.encode(Committed(self._ino, self._size)).decode()

    # What a crash left

    def _take_back(self, committed: str | None) -> None:
        last = msgspec.json.decode(committed, type=Committed) if committed else None
        if last is not None:
            self._truncate(self._find(last.ino), last.size)
        first = self._lock.read()
        if first.ino and (last is None or last.ino != first.ino):
            # No commit of this file is known. Behind its first write there is another only if the first was committed:
            # then Redis has forgotten it, and all lines are kept.
            path = self._find(first.ino)
            if path is not None and path.stat().st_size <= first.end:
                self._truncate(path, first.size)
        self._lock.write(first.ino, first.size, first.end)

    def _find(self, ino: int) -> Path | None:
        """Return the file of this inode: the path's own, or one in its folder that was renamed since."""
        if _inode(self.path) == ino:
            return self.path
        with os.scandir(self.path.parent) as entries:
            return next((Path(entry.path) for entry in entries if entry.inode() == ino and entry.is_file()), None)

    def _truncate(self, path: Path | None, size: int) -> None:
        left_over = path.stat().st_size - size if path is not None else 0
        if path is not None and left_over > 0:
            with path.open("r+b") as file:
                file.truncate(size)
                os.fsync(file.fileno())
            self._context.log.warning("taken_back path=%s bytes=%d: written but not committed", path, left_over)

    # Writing

    def _reopen(self) -> None:
        """Open the file unless it is open and its name still leads to it."""
        found = _inode(self.path)
        if self._fd >= 0 and found == self._ino:
            return
        self._close()
        # O_APPEND: whoever truncates the file at this moment leaves no hole in it
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, self._mode)
        facts = os.fstat(fd)
        self._fd, self._ino, self._size, self._fresh = fd, facts.st_ino, facts.st_size, True
        if not found:
            os.fchmod(fd, self._mode)  # whatever the umask is
            _sync_folder(self.path.parent)
        self._context.log.info("open path=%s size=%d", self.path, self._size)

    def _write(self, data: bytes) -> None:
        self._clean()
        self._notice_others()
        if self._fresh:
            # order: note the write, then write: no cursor is of this file yet, and a crash may come before the commit
            self._lock.write(self._ino, self._size, self._size + len(data))
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
        """Take back what a failed write left."""
        if self._dirty:
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


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
