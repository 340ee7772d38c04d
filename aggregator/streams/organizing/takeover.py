"""Take a file of an older program over into the folders of streams, byte for byte, and remove it when that is proven.

order: the copy is durable and was read back, then it gets its name, then its sidecar, then the original goes. A run
that was killed in between is repeated: what it finds under the name is read and compared, and what is missing is done.
"""

from __future__ import annotations

import os
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from aggregator import __version__
from aggregator.files.durable import sync_folder, write_part
from aggregator.files.names import text_of
from aggregator.files.opening import open_part
from aggregator.streams.organizing.inspecting import Inspected, inspect
from aggregator.streams.organizing.oldfiles import OldFile
from aggregator.streams.reading.hashing import Hashed
from aggregator.streams.reading.unpacking import MOST_BYTES
from aggregator.streams.recording.paths import sidecar_of
from aggregator.streams.times import iso

_PIECE = 1 << 20
_MODE = 0o640
_LONGEST_S = 7 * 86400
"""A file that was changed later than this after its beginning was touched by something else than its writer."""


class Left(Exception):
    """The file stays where it is; the text says why."""


class Taken(NamedTuple):
    """What became of a file."""

    target: Path
    inspected: Inspected
    is_new: bool
    """False when an earlier run had already taken it over, and only removing it was left."""


def take_over(old: OldFile, directory: Path, *, most_bytes: int = MOST_BYTES) -> Taken:
    """Take one file over. Raises Left when it must stay, and OSError, having left the original."""
    # O_NONBLOCK: a FIFO that took the file's place meanwhile must not be waited for
    handle = os.open(old.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as source:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise Left("no regular file")
        inspected = inspect(source, most_bytes=most_bytes)
        if not inspected.is_gzip:
            raise Left("its content is not packed by gzip")
        if inspected.fault.startswith("unpacks"):
            raise Left(inspected.fault)
        target, is_new = _target(old, directory, inspected)
        part = _part_of(target)
        part.unlink(missing_ok=True)
        if is_new:
            source.seek(0)
            try:
                _copy(source, part, inspected)
                _refuse_changed(old.path, facts)
                # a link, as a rename would replace what another program put there meanwhile
                os.link(part, target)
            finally:
                part.unlink(missing_ok=True)
    _write_sidecar(old, target, inspected, facts)
    # also of what an earlier run or another program left there: from here on it is the only copy
    _sync(target)
    _refuse_changed(old.path, facts)
    # the old program may have given a file of XML the very name that it has here: then it is its own copy
    if not _is_in_place(old.path, target):
        old.path.unlink()
        sync_folder(old.path.parent)
    return Taken(target, inspected, is_new)


def folder_of(old: OldFile, directory: Path) -> Path:
    """Return the folder that a file belongs into."""
    hour = datetime.fromtimestamp(old.start_ms / 1000, timezone.utc).strftime("%Y/%m/%d/%H")
    return directory / old.stream / hour


def _target(old: OldFile, directory: Path, inspected: Inspected) -> tuple[Path, bool]:
    """Return the name that a file gets, and whether it is free; it is not when the same file is there already."""
    moment = datetime.fromtimestamp(old.start_ms / 1000, timezone.utc).strftime("%Y-%m-%dT%H-%M-%SZ")
    # some of the files that are called .xml hold JSON
    ending = "jsonl.gz" if inspected.is_json else "xml.gz" if old.path.name.endswith(".xml.gz") else "txt.gz"
    number = 0
    while True:
        path = folder_of(old, directory) / f"{old.stream}-{moment}{f'-{number}' if number else ''}.{ending}"
        if not os.path.lexists(path) and not sidecar_of(path).exists():
            return path, True
        if path.is_file() and not path.is_symlink() and _holds(path, inspected):
            return path, False
        number += 1


def _is_in_place(path: Path, target: Path) -> bool:
    return path.name == target.name and os.path.samefile(path.parent, target.parent)


def _part_of(path: Path) -> Path:
    """Return the name of a file while it is written: one for all runs, so that what a killed run left is replaced.

    The lock of the directory keeps runs apart.
    """
    return path.with_name(f".{path.name}.organize.part")


def _holds(path: Path, inspected: Inspected) -> bool:
    """True when a file holds what was read, to the last byte."""
    if path.stat().st_size != inspected.size_bytes:
        return False
    with path.open("rb") as file:
        return Hashed(file).sha256() == inspected.sha256


def _copy(source: BinaryIO, part: Path, inspected: Inspected) -> None:
    """Copy a file under a temporary name, durably, and read the copy back."""
    missing = [folder for folder in part.parents if not folder.exists()]
    part.parent.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)
    with open(open_part(part), "wb") as copy:
        os.fchmod(copy.fileno(), _MODE)
        while piece := source.read(_PIECE):
            copy.write(piece)
        copy.flush()
        # the time of the last change is all that tells when the last message came
        facts = os.fstat(source.fileno())
        os.utime(copy.fileno(), ns=(facts.st_atime_ns, facts.st_mtime_ns))
        os.fsync(copy.fileno())
    if not _holds(part, inspected):
        raise Left("the copy that was read back differs; the file changes, or the disk is at fault")


def _sync(path: Path) -> None:
    """Make a file and the names in its folder durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    sync_folder(path.parent)


def _refuse_changed(path: Path, read: os.stat_result) -> None:
    """Raise Left unless a file still is what was read."""
    now = path.stat(follow_symlinks=False)
    before = (read.st_dev, read.st_ino, read.st_size, read.st_mtime_ns)
    if (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns) != before:
        raise Left("it was changed while it was read")


def _write_sidecar(old: OldFile, target: Path, inspected: Inspected, facts: os.stat_result) -> None:
    changed_ms = int(facts.st_mtime * 1000)
    is_likely = 0 <= changed_ms - old.start_ms <= _LONGEST_S * 1000
    text = {
        "file": target.name,
        "stream": old.stream,
        "node": "",
        "instance": "",
        "version": f"aggregator {__version__}",
        "count": inspected.count,
        "first_received": iso(old.start_ms),
        "last_received": iso(changed_ms if is_likely else old.start_ms),
        "size_bytes": inspected.size_bytes,
        "sha256": inspected.sha256,
        "connections": [],
        "gaps": [],
        "content": inspected.details,
        "origin": {
            "program": "Social Feed Manager",
            "file": text_of(old.path.name),
            "changed": iso(changed_ms),
        },
    }
    sidecar = sidecar_of(target)
    if not sidecar.exists():
        part = _part_of(sidecar)
        write_part(part, msgspec.json.format(msgspec.json.encode(text), indent=2) + b"\n", _MODE)
        part.replace(sidecar)
