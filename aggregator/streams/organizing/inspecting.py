"""Read a file of an older program to its end, and say what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO

from aggregator.streams.reading.events import shape_of
from aggregator.streams.reading.hashing import Hashed
from aggregator.streams.reading.unpacking import MOST_BYTES, Lines

_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Inspected:
    """What is in a file."""

    sha256: str
    size_bytes: int
    count: int
    """How many whole messages there are."""
    fault: str
    """Why the file could not be read to its end; empty when it could."""
    is_json: bool
    """True when a message is a JSON object, whatever the file's name says, or when there is no message."""
    is_gzip: bool
    """True when the file begins as gzip does, or is empty: a process that was killed at once leaves an empty file."""
    details: dict[str, Any]
    """What the sidecar says of the content."""


def inspect(file: BinaryIO, *, most_bytes: int = MOST_BYTES) -> Inspected:
    """Read a packed file to its end, or as far as it can be read. Raises OSError."""
    hashed = Hashed(file)
    lines = Lines(hashed, "gz", most_bytes=most_bytes)
    kinds: dict[str, int] = {}
    count = with_id = no_json = 0
    for line in lines:
        count += 1
        shape = shape_of(line)
        kinds[shape.kind] = kinds.get(shape.kind, 0) + 1
        with_id += shape.kind == "post" and bool(shape.id)
        no_json += not shape.whole
    # what lies behind a fault belongs to the file all the same
    sha256 = hashed.sha256()
    details = {
        "is_whole": not lines.fault,
        "fault": lines.fault,
        "unpacked_bytes": lines.unpacked_bytes,
        "tail_bytes": lines.tail_bytes,
        "blank_lines": lines.blank,
        "overlong_lines": lines.overlong,
        "no_json": no_json,
        "with_id": with_id,
        "kinds": dict(sorted(kinds.items())),
    }
    is_json = not count or no_json < count
    is_gzip = not hashed.start or hashed.start == _MAGIC
    return Inspected(sha256, hashed.size_bytes, count, lines.fault, is_json, is_gzip, details)
