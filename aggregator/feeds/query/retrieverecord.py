"""Records of the bundles that `feeds retrieve` fetched into a folder DIR; they are kept below `DIR/.retrieved`."""

from __future__ import annotations

from pathlib import Path, PurePath

import msgspec

from aggregator.files.fingerprint import hash_file

OWN = ".retrieved"
"""The folder below DIR for records, locks and temporary files."""
WORK = "work"
"""The folder below `.retrieved` for bundles that are being fetched."""


class RetrievedFile(msgspec.Struct, frozen=True):
    """A file from a bundle."""

    path: str
    """The path relative to DIR."""
    size_bytes: int
    sha256: str


class Record(msgspec.Struct, frozen=True):
    """The result of fetching one bundle, which need not be fetched again while all of this still holds."""

    objects: dict[str, str]
    """The tag of each object, by key."""
    files: list[RetrievedFile]
    problems: list[str]


_RECORD = msgspec.json.Decoder(Record)
"""Made at import: msgspec may crash when several threads are the first to read a struct."""


def read_record(path: Path) -> Record | None:
    """Return the record in a file; None when there is no valid record, or a path in it leads out of the folder."""
    try:
        record = _RECORD.decode(path.read_bytes())
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    paths = [PurePath(file.path) for file in record.files]
    return None if any(each.is_absolute() or ".." in each.parts for each in paths) else record


def facts_of(path: Path) -> tuple[int, str]:
    """Return the size and SHA-256 of a file; -1 and '' when it is not a regular file."""
    if path.is_symlink() or not path.is_file():
        return -1, ""
    return path.stat().st_size, hash_file(path)
