"""Hashes that recognise a file, or a place in it, though its name or inode may belong to another file by now."""

from __future__ import annotations

from hashlib import blake2b, sha256
from pathlib import Path

HEAD_BYTES = 256
"""How many bytes make up a fingerprint: enough to hold the time of a log's first line."""
_PIECE = 1 << 17


def fingerprint(head: bytes) -> str:
    """Return the hash of some of a file's bytes."""
    return blake2b(head, digest_size=16).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file. Raises OSError."""
    digest = sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
