"""One file being read: its position, the open file, and the lines that may be taken from it now."""

from __future__ import annotations

import msgspec

from aggregator.files.fingerprint import HEAD_BYTES
from aggregator.logs.following.copies import common_end, end_of_lines
from aggregator.logs.following.lines import Taken, cut_line, end_of_hole, take_lines
from aggregator.logs.following.openfile import OpenFile, text_in
from aggregator.logs.following.position import Position

SETTLE_S = 5.0
"""A rotated file that did not change for this long has no writer in the middle of a line."""
WATCH_S = 3600.0
"""A file that did not change for this long is closed; a rotated file is then not looked at again."""


class FollowedFile:
    """A file that its path names or has named."""

    def __init__(self, position: Position, file: OpenFile | None = None) -> None:
        self.position = position
        self.file = file
        self.seen = (-1, 0.0)
        """Size and time of change at the last look."""
        self.quiet_since = 0.0
        self.let_go = False
        """True once the file was read to its end and closed."""
        self.succeeded = False
        """True once a copy replaced the file: its position is not kept, because it would also match the next such
        copy."""
        self.unread: int | None = None
        """How many bytes were still unread when the file's text was lost; None while that is not known."""
        self._head = b""
        self._last = b""
        self._scanned = 0
        self._hole = 0
        """The offset up to which nothing but NULs was found at the file's start."""

    @property
    def key(self) -> tuple[int, int]:
        """Device and inode."""
        return self.position.dev, self.position.ino

    def attach(self, file: OpenFile) -> None:
        """Read from this open file from now on."""
        self.release()
        facts = file.stat()
        position = self.position
        position.dev, position.ino, position.codec = facts.st_dev, facts.st_ino, file.codec
        position.gone, position.done, position.suspect = 0.0, False, False
        self.let_go, self.unread = False, None
        self._head = file.read_at(position.start, position.hashed) if position.hashed else b""
        # the last bytes of a compressed file are far away, and are not compared
        self._last = b"" if position.codec else file.read_at(position.last_at, position.last_hashed)
        self.file, self.seen, self._scanned, self._hole = file, (-1, 0.0), 0, 0

    def release(self) -> None:
        """Close the file; the position stays."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def start_at_end(self, end: int | None = None) -> None:
        """Skip all text, or all text before `end`, except a last line that has no newline yet."""
        assert self.file is not None
        size = self.file.stat().st_size if end is None else end
        if at := end_of_lines(self.file, 0, size):
            self._skip_to(at)

    def skip_all(self) -> None:
        """Count all text as read: the file is older than the section's first run, or a copy is read in its place."""
        assert self.file is not None
        if self.position.codec:
            self._skip_to(len(self.file.read_at(0, HEAD_BYTES)))
            self.position.done = True
            self.release()
        else:
            self._skip_to(self.file.stat().st_size)

    def _skip_to(self, offset: int) -> None:
        assert self.file is not None
        self.position.offset, self.position.start = offset, 0
        self._head = self.file.read_at(0, min(offset, HEAD_BYTES))
        self.position.hash_head(self._head)
        at = max(offset - HEAD_BYTES, 0)
        self._last = self.file.read_at(at, offset - at)
        self.position.hash_last(at, self._last)

    def look(self, now: float) -> bool:
        """Take note of the file's size. Returns True when there may be something to take."""
        if self.file is None:
            return False
        facts = self.file.stat()
        if (facts.st_size, facts.st_mtime) != self.seen:
            self.seen, self.quiet_since = (facts.st_size, facts.st_mtime), now
        return bool(self.position.codec) or facts.st_size > self.position.offset

    def in_progress(self, now: float) -> bool:
        """True for a rotated file whose last line may still be written, or whose compressor may be at work."""
        assert self.file is not None
        partial = bool(self.file.broken) if self.position.codec else self.seen[0] > self.position.offset
        return partial and not self.quiet_for(now, SETTLE_S)

    def quiet_for(self, now: float, seconds: float) -> bool:
        """True when nothing changed in the open file for this many seconds."""
        return now - self.quiet_since >= seconds

    def succeed(self, file: OpenFile) -> Position | None:
        """Return the position in `file` when it is a longer copy of this file, which was removed; None when it is not.

        Text that both files hold is read only once. Text that only the removed file holds is still read here, also if
        its writer goes on for a while.
        """
        position = self.position
        if self.succeeded or self.file is None or position.codec or self.file.stat().st_nlink:
            return None
        size = self.file.stat().st_size
        if not size or (position.hashed and not position.fits(text_in(file))):
            return None
        if not file.codec and file.stat().st_size < position.offset:
            return None
        common = common_end(self.file, file, position.offset)
        if common < size and not position.hashed:
            return None  # no bytes were read that would prove one to be the copy of the other
        copied, self.succeeded = msgspec.structs.replace(position), True
        if common >= size:
            self.skip_all()
        else:
            other = FollowedFile(copied, file)
            other._skip_to(end_of_lines(file, position.offset, common))
        return copied

    def written_anew(self, file: OpenFile) -> bool:
        """True for a file that begins as this one and is shorter: a copy may be being written over it just now."""
        size = file.stat().st_size
        if size >= self.position.offset or not self._head:
            return False
        return file.read_at(self.position.start, len(self._head)) == self._head[: max(size - self.position.start, 0)]

    def intact(self) -> bool:
        """True while what was read is still there: the file was not truncated or written anew."""
        assert self.file is not None
        position = self.position
        if position.codec:
            return True
        if self.file.stat().st_size < position.offset:
            return False
        return self.file.read_at(position.last_at, len(self._last)) == self._last

    def take(self, limit: int, maxline: int) -> Taken | None:
        """Take whole lines. Returns None when the file turns out to have been truncated or written anew."""
        assert self.file is not None
        offset = self._next_line()
        taken = take_lines(self.file.read_at, offset, limit, maxline, self._scanned)
        self._scanned = taken.scanned
        # order: read first, then check that the file is intact: it may have been truncated in between
        return taken if not taken.lines or self.intact() else None

    def take_rest(self, maxline: int) -> Taken | None:
        """Take the text behind the last newline of a file that nobody writes to any more; None if there is none."""
        assert self.file is not None
        begin = self._next_line()
        line = self.file.read_at(begin, maxline + 1)
        if not line:
            return None
        head, end = line[:HEAD_BYTES], max(begin + len(line), self._scanned)
        return Taken([cut_line(line, maxline)], begin, end, head, begin, head, int(len(line) > maxline))

    def _next_line(self) -> int:
        """Return where the next line begins: behind the run of NULs, if there is one at the file's start."""
        assert self.file is not None
        offset = self.position.offset
        if offset == self.position.start and not self.position.codec:
            known = self._hole if self._hole and self.file.read_at(self._hole - 1, 1) == b"\0" else offset
            self._hole = end_of_hole(self.file.read_at, known)
            return self._hole
        return offset

    def advance(self, taken: Taken) -> None:
        """Move the position behind the lines that were taken."""
        position = self.position
        if position.offset == position.start:
            position.start = taken.begin
        if len(self._head) < HEAD_BYTES:
            self._head = (self._head + taken.head)[:HEAD_BYTES]
            position.hash_head(self._head)
        self._last = taken.last
        position.hash_last(taken.last_at, taken.last)
        position.offset, self._scanned = taken.end, 0
