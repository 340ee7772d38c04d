"""The note of when a stream was last known to be complete: it outlives a killed process."""

from __future__ import annotations

from pathlib import Path

import msgspec

from aggregator.files.durable import part_of


class Withheld(msgspec.Struct, frozen=True):
    """Events that the platform said it withheld, and that no gap's record tells of yet."""

    from_ms: int
    to_ms: int = 0
    lost: int = 0


class Aliveness(msgspec.Struct):
    """Until when nothing was missing."""

    complete_ms: int
    """The moment in Unix milliseconds up to which everything that the platform sent was received."""
    cause: str = ""
    """Why events may be missing since then, when the process knows it already; empty while the stream is connected."""
    per_second: float = 0.0
    """How many events came a second until then; 0 when that is not known."""
    withheld: Withheld | None = None
    """What the platform withheld of late."""


def read_aliveness(path: Path) -> Aliveness | None:
    """Return the note; None when there is none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Aliveness)
    except (OSError, msgspec.DecodeError):
        return None


def write_aliveness(path: Path, note: Aliveness) -> None:
    """Replace the note as a whole. Raises OSError.

    It is not synced: after a power cut an older note makes a gap longer than it was, never shorter.
    """
    part = part_of(path)
    part.write_bytes(msgspec.json.encode(note))
    part.replace(path)
