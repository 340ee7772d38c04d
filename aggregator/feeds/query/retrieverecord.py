"""What `feeds retrieve` remembers of the bundles that it brought into a folder DIR, below `DIR/.retrieved`."""

from __future__ import annotations

from pathlib import Path, PurePath

import msgspec

from aggregator.feeds.bundle.members import hash_file

OWN = ".retrieved"
"""The folder below DIR of all that is not what bundles held."""
WORK = "work"
"""The folder below `.retrieved` of bundles on their way."""


class RetrievedFile(msgspec.Struct, frozen=True):
    """A file that a bundle brought."""

    path: str
    """Below DIR."""
    size_bytes: int
    sha256: str


class Record(msgspec.Struct, frozen=True):
    """What one bundle brought: it need not be fetched again while all of this still holds."""

    objects: dict[str, str]
    """For each key the tag of the object."""
    files: list[RetrievedFile]
    problems: list[str]


def read_record(path: Path) -> Record | None:
    """Return the record in a file; None when there is none, or one that leads out of the folder."""
    try:
        record = msgspec.json.decode(path.read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    paths = [PurePath(file.path) for file in record.files]
    return None if any(each.is_absolute() or ".." in each.parts for each in paths) else record


def facts_of(path: Path) -> tuple[int, str]:
    """Return the size and SHA-256 of a file; of none that fits anything when there is no file."""
    if path.is_symlink() or not path.is_file():
        return -1, ""
    return path.stat().st_size, hash_file(path)
