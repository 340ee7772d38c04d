"""Hashes that recognise a file, or a place in it, though its name or inode may belong to another file by now."""

from __future__ import annotations

from hashlib import blake2b

HEAD_BYTES = 256
"""How many bytes make up a fingerprint: enough to hold the time of a log's first line."""


def fingerprint(head: bytes) -> str:
    """Return the hash of some of a file's bytes."""
    return blake2b(head, digest_size=16).hexdigest()
