"""The mark beside a file that is in a store: `.NAME.stored`, with the place where the file is.

The mark's time says since when it is stored. The mark stays for a day when the file is removed, so that `record` gives
its name to no other file meanwhile, and so that a message that comes again is known.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from aggregator.files.durable import write_durably
from aggregator.streams.recording.paths import mark_of


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Where a file is stored."""

    store: str
    """The store, as its section names it; a mark of another store says nothing about this one."""
    key: str
    sha256: str
    size_bytes: int
    changed_ns: int
    """When the file was changed last: a file of another time is not the one that was stored."""


def read_mark(path: Path) -> Mark | None:
    """Return the mark of a file; None when there is none that can be read. Raises OSError."""
    try:
        return msgspec.json.decode(mark_of(path).read_bytes(), type=Mark)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write_mark(path: Path, mark: Mark, now: float) -> None:
    """Note durably that a file is stored. Raises OSError."""
    write_durably(mark_of(path), msgspec.json.encode(mark) + b"\n", 0o640)
    os.utime(mark_of(path), (now, now))


def stored_at(path: Path) -> float:
    """Return since when a file is stored, in Unix seconds. Raises FileNotFoundError when it has no mark."""
    return mark_of(path).lstat().st_mtime


def remove_mark(path: Path) -> None:
    """Forget that a file was stored. Raises OSError."""
    mark_of(path).unlink(missing_ok=True)
