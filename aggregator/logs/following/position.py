"""How far a file was read, as stored between runs, and how the file is recognised."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from aggregator.files.fingerprint import fingerprint

TextAt = Callable[[int], bytes]
"""Returns up to `HEAD_BYTES` of a text from an offset on."""


class Position(msgspec.Struct, omit_defaults=True):
    """One file that a path has named, and how far it was read.

    A file is recognised by its device, its inode, and the hashes of the first and of the last bytes that were read. The
    first bytes are not enough, because logs with a header all begin alike. Only bytes that were read as lines are
    hashed: these bytes cannot change any more, and a file from which nothing was taken needs no identity.
    """

    path: str
    """The configured or matched path that named the file when it was live, as text."""
    serial: int
    """Grows with every file that the path names: the files are read in this order."""
    dev: int = 0
    ino: int = 0
    offset: int = 0
    """The number of bytes taken; of a compressed file, bytes of its decompressed text."""
    start: int = 0
    """Where the text begins: behind the run of NULs that some writers leave after copytruncate."""
    hashed: int = 0
    hash: str = ""
    last_at: int = 0
    """Where the last bytes that were hashed begin."""
    last_hashed: int = 0
    last_hash: str = ""
    mtime: float = 0.0
    """The file's time of change when it was last looked at, Unix seconds."""
    codec: str = ""
    done: bool = False
    """True for a compressed file that was read to its end: it cannot grow."""
    gone: float = 0.0
    """When the file was first missed, Unix seconds; 0 while it is there."""
    copy: bool = False
    """True for a copy of another followed file: the text that the copy began with was read in the other file."""
    suspect: bool = False
    """True for a file that is gone with lines that may not have been read, until that is reported."""
    at_end: bool = False
    """True for a file that could not be opened at the first look: once it can be, the text already in it is skipped."""

    @property
    def name(self) -> str:
        """The name of the cursor that stores the position."""
        return f"{self.path}#{self.serial}"

    def store(self) -> str:
        """Return the text of the cursor that stores the position."""
        return msgspec.json.encode(self).decode()

    def fits(self, text: TextAt) -> bool:
        """True when `text` may be the text of this file; never for a file from which nothing was taken."""
        return self.begins(text(self.start)) and self.reaches(text(self.last_at))

    def begins(self, head: bytes) -> bool:
        """True when a text that begins with `head` may be of this file; never for a file without a line taken."""
        return 0 < self.hashed <= len(head) and fingerprint(head[: self.hashed]) == self.hash

    def reaches(self, last: bytes) -> bool:
        """True when `last`, the bytes from `last_at` on, are the bytes that were read there."""
        return not self.last_hashed or fingerprint(last[: self.last_hashed]) == self.last_hash

    def hash_head(self, head: bytes) -> None:
        """Take the fingerprint of the first bytes read."""
        self.hashed, self.hash = len(head), fingerprint(head)

    def hash_last(self, at: int, last: bytes) -> None:
        """Take the fingerprint of the last bytes read, which begin at `at`."""
        self.last_at, self.last_hashed, self.last_hash = at, len(last), fingerprint(last)


def load_position(text: str) -> Position:
    """Return the position that `store` encoded."""
    return msgspec.json.decode(text, type=Position)
