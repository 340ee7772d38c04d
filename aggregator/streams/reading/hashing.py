"""Hash a file while it is read."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

_PIECE = 1 << 20


class Hashed:
    """A file that is hashed as it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        self.start = b""
        """The first bytes of the file."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""
        piece = self._file.read(size)
        self.start = self.start or piece[:2]
        self._digest.update(piece)
        self.size_bytes += len(piece)
        return piece

    def sha256(self) -> str:
        """Read what is left, and return the hash of the whole file, in hex."""
        while self.read(_PIECE):
            pass
        return self._digest.hexdigest()
