"""A file that only grows, by whole writes, with a known committed length; the remains of a crash are taken back."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from aggregator.errors import Superseded, Unavailable
from aggregator.files.durable import sync_folder
from aggregator.files.lockfile import LockFile
from aggregator.files.opening import open_followed, untrusted_link
from aggregator.files.takeback import FileEnd, Note, behind, end_in, judge, take_back
from aggregator.files.writing import write_all

_NOTED = 64
"""How many of the first bytes of a write are noted."""
_OLD_S = 60.0
"""A Redis that comes back after a power cut has forgotten a second or two. A Redis that does not know of writes this
old was restored from a backup, and the messages of these lines may not come again."""


class Writer(Protocol):
    """The section that appends: a stage's `Context`."""

    node: str
    section: str
    state_id: str
    """The id of the state whose commits say which writes count."""
    clock: Callable[[], float]
    log: logging.Logger

    def report(self, code: str, text: str, do: str, *, about: str, lasting: bool) -> None:
        """Report something to a human, as `Context.report` does."""


class AppendedFile:
    """Append to a path, under an exclusive lock, even while others rotate the file."""

    def __init__(self, path: Path, mode: int, writer: Writer) -> None:
        self.path = path
        self._mode = mode
        self._writer = writer
        self._real = Path(os.path.realpath(path))
        """The file that the path leads to through all links: note and cursor are about this file."""
        self._lock = LockFile(self._real.with_name(f".{self._real.name}.lock"))
        self._waited = False
        """True when another process had the lock at the first try."""
        self._note = Note()
        self._committed: FileEnd | None = None
        """The last place that is known to be committed."""
        self._fd = -1
        self._ino = 0
        self._size = 0
        """The length up to which the file is known to be whole."""
        self._dirty = False
        """True when a write failed and its remains may still be there."""
        self._fresh = True
        """True until the first write of a generation."""
        self._marked = (0.0, 0)
        """When a size was last marked, Unix seconds, and that size."""

    def acquire(self, committed: str | None) -> None:
        """Lock the file, and take back what was written but never committed.

        Raises Unavailable. Raises Superseded when another process had the file before, because that process may have
        committed since `committed` was read.
        """
        try:
            self._real.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            # order: the link first: a stranger's link must not even make us create a lock file where it leads
            if self.path.is_symlink() and (trick := untrusted_link(self.path)):
                raise PermissionError(errno.EPERM, trick)
            holder = self._lock.acquire()
        except OSError as error:
            raise Unavailable(f"cannot lock {self.path}: {error.strerror}") from error
        if holder is not None:
            self._waited = True
            raise Unavailable(f"{self.path} is held by pid {holder}", pause_s=1.0)
        if self._waited:
            self._lock.release()
            raise Superseded(f"another process has written to {self.path} until now: starting anew")
        try:
            self._take_back(msgspec.json.decode(committed, type=FileEnd) if committed else None)
        except OSError as error:
            self._lock.release()
            raise Unavailable(f"cannot recover {self.path}: {error.strerror}") from error

    def finish(self) -> None:
        """Note that everything written was committed, and release the file."""
        self._close()
        note = msgspec.structs.replace(self._note, clean=True, known=self._committed)
        if self._committed is not None and note.place.generation == self._committed.generation:
            note.old = self._committed.size
        try:
            self._lock.write(note)
        except OSError as error:
            self._writer.log.warning("unnoted path=%s reason=%s: the stop looks like a crash", self.path, error)
        self._lock.release()

    def release(self) -> None:
        """Close the file and release the lock, as the end of a process does."""
        self._close()
        self._lock.release()

    def append(self, data: bytes) -> str:
        """Write all data durably; return the text of the cursor to commit. Raises Unavailable, having written none.

        By this call the caller says that all earlier writes are committed.
        """
        try:
            self._reopen()
            self._committed = self._write(data)
        except OSError as error:
            raise Unavailable(f"cannot write {self.path}: {error.strerror or error}") from error
        return msgspec.json.encode(self._committed).decode()

    def _take_back(self, committed: FileEnd | None) -> None:
        writer, note = self._writer, self._lock.read()
        owner = f"{writer.node}:{writer.section}"
        if note.state not in (None, writer.state_id):
            writer.log.warning("other_state path=%s: its lines were written for another Redis, and stay", self.path)
        judgement = judge(committed, note, writer.state_id, owner)
        for path, left_over in take_back(self._real, judgement, note):
            writer.log.warning("taken_back path=%s bytes=%d: written but not committed", path, left_over)
        if judgement.doubt and (committed is None or behind(self._real, committed)):
            writer.report(
                "may_be_double",
                f"the last lines of {self.path} may come a second time: {judgement.doubt}",
                "look at the lines around this time, and remove those that are there twice",
                about=str(self.path),
                lasting=True,
            )
        self._committed = committed
        self._note = Note(os.getpid(), committed or FileEnd(), 0, b"", writer.state_id, owner, committed, clean=True)
        self._lock.write(self._note)

    # Writing

    def _reopen(self) -> None:
        """Open the file, unless it is open and its name still leads to it."""
        found = _inode(self.path)
        if self._fd >= 0 and found == self._ino:
            return
        if Path(os.path.realpath(self.path)) != self._real:
            raise Superseded(f"{self.path} leads to another file than {self._real} by now: starting anew")
        self._close()
        # O_APPEND: a truncation by somebody else at this moment leaves no hole in the file
        fd = open_followed(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, self._mode)
        facts = os.fstat(fd)
        self._fd, self._ino, self._size, self._fresh = fd, facts.st_ino, facts.st_size, True
        if not found:
            os.fchmod(fd, self._mode)  # whatever the umask is
            sync_folder(self.path.parent)
        self._writer.log.info("open path=%s size=%d", self.path, self._size)

    def _write(self, data: bytes) -> FileEnd:
        """Write all data, or nothing. Returns the place behind it."""
        self._clean()
        self._notice_others()
        self._note_write(data)
        self._dirty = True
        try:
            write_all(self._fd, data)
            os.fsync(self._fd)
            # order: what may still fail, then the data counts as written
            place = end_in(self._fd, self._note.place.generation, os.fstat(self._fd).st_size)
        except OSError:
            self._clean()
            raise
        self._size = place.size
        self._dirty = self._fresh = False
        return place

    def _note_write(self, data: bytes) -> None:
        """Note what a restart must know about this write and cannot learn from the cursor."""
        now, note = self._writer.clock(), self._note
        marked_at, marked = self._marked
        if self._fresh:
            # order: note the write, then write: a crash may come before the first cursor of this generation is
            # committed
            generation = max(note.place.generation + 1, int(now * 1e6))
            note.place = end_in(self._fd, generation, self._size)
            note.end, note.head, note.first = self._size + len(data), data[:_NOTED], True
            note.known, note.clean, note.old = self._committed, False, 0
            self._marked = now, self._size
        elif now - marked_at >= _OLD_S:
            note.old, note.first = marked, False
            self._marked = now, self._size
        elif note.first:
            note.first = False
        else:
            return
        self._lock.write(note)

    def _clean(self) -> None:
        """Remove the remains of a failed write, unless somebody truncated the file below them meanwhile."""
        if self._dirty and os.fstat(self._fd).st_size > self._size:
            os.ftruncate(self._fd, self._size)
        self._dirty = False

    def _notice_others(self) -> None:
        found = os.fstat(self._fd).st_size
        if found > self._size:
            self._writer.log.warning(
                "foreign path=%s bytes=%d: somebody else writes to this file", self.path, found - self._size
            )
        elif found < self._size:
            self._writer.log.info("truncated path=%s from=%d to=%d: by somebody else", self.path, self._size, found)
            self._fresh = True
        self._size = found

    def _close(self) -> None:
        if self._fd >= 0:
            self._clean()
            os.close(self._fd)
            self._fd = -1


def _inode(path: Path) -> int:
    """Return the inode of a path, 0 when there is no such file."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
