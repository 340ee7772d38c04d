"""How far a file was read, as it is stored between runs, and how the file is known again."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from aggregator.files.fingerprint import fingerprint

TextAt = Callable[[int], bytes]
"""Returns up to `HEAD_BYTES` of a text from a place on."""


class Position(msgspec.Struct, omit_defaults=True):
    """One file that a path has named, and how far it was read.

    A file is known by device, inode, and the hashes of the first and of the last bytes that were read: logs with a
    header all begin alike. Only bytes that were read as lines are hashed: those cannot change any more, and a file
    nothing was taken from needs no identity.
    """

    path: str
    """The configured or matched path that named the file when it was live, as text."""
    serial: int
    """Grows with every file the path names: the order in which they are read."""
    dev: int = 0
    ino: int = 0
    offset: int = 0
    """Bytes taken, of the decompressed text where the file is compressed."""
    start: int = 0
    """Where the text begins: behind the hole of NULs that a writer leaves after copytruncate."""
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
    """True for a copy of another followed file: what it held at first was read there."""
    suspect: bool = False
    """True for one that is gone, with lines that may not have been read, until that is told."""
    at_end: bool = False
    """True for a file that could not be opened at the first look: once it can, what it holds already is left out."""

    @property
    def name(self) -> str:
        """The name of its cursor."""
        return f"{self.path}#{self.serial}"

    def store(self) -> str:
        """Return the text of its cursor."""
        return msgspec.json.encode(self).decode()

    def fits(self, text: TextAt) -> bool:
        """True when this may be the file's text; never for a file nothing was taken from."""
        return self.begins(text(self.start)) and self.reaches(text(self.last_at))

    def begins(self, head: bytes) -> bool:
        """True when a file whose text begins with `head` may be this one; never for one nothing was taken from."""
        return 0 < self.hashed <= len(head) and fingerprint(head[: self.hashed]) == self.hash

    def reaches(self, last: bytes) -> bool:
        """True when `last`, the bytes from `last_at`, are what was read there."""
        return not self.last_hashed or fingerprint(last[: self.last_hashed]) == self.last_hash

    def hash_head(self, head: bytes) -> None:
        """Take the fingerprint of the first bytes read."""
        self.hashed, self.hash = len(head), fingerprint(head)

    def hash_last(self, at: int, last: bytes) -> None:
        """Take the fingerprint of the last bytes read, which begin at `at`."""
        self.last_at, self.last_hashed, self.last_hash = at, len(last), fingerprint(last)


def load_position(text: str) -> Position:
    """Return what `store` wrote."""
    return msgspec.json.decode(text, type=Position)
