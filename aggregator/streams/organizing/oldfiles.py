"""The files of Social Feed Manager: which there are in its data folder, and which may be taken over by now.

Source: gwu-libraries/social-feed-manager, `sfm/ui/management/commands/organizedata.py` and `sfm/ui/utils.py`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from aggregator.streams.messages import NAME
from aggregator.streams.recording.paths import HOUR_FOLDERS, sidecar_of

_NAME = re.compile(
    r"(?P<stream>.+)-(?P<day>\d{4}-\d\d-\d\d)T(?P<hour>\d\d)[-:](?P<minute>\d\d)[-:](?P<second>\d\d)Z"
    r"(?P<ending>(?:\.json|\.xml)?\.gz)",
    re.ASCII,
)


class OldFile(NamedTuple):
    """An entry of an old data folder."""

    path: Path
    size_bytes: int = 0
    stream: str = ""
    start_ms: int = 0
    """The time in its name, in Unix milliseconds."""
    reason: str = ""
    """Why it is left where it is; empty when it may be taken over."""


def old_files(folder: Path, now: float, least_age_s: float, opened: set[tuple[int, int]]) -> Iterator[OldFile]:
    """Yield the entries of a folder in order of their names, and what `organizedata` moved into folders below it.

    `opened` are the files that processes have open, by device and inode. Links are not followed. Raises OSError when
    the folder cannot be read.
    """
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            for inside in _moved(Path(entry.path), HOUR_FOLDERS):
                # what has a sidecar is ours, and was taken over before
                is_old = _NAME.fullmatch(inside.name) and inside.name.startswith(f"{entry.name}-")
                if is_old and not sidecar_of(Path(inside.path)).exists():
                    yield _old_file(inside, now, least_age_s, opened)
        elif not entry.name.startswith("."):
            yield _old_file(entry, now, least_age_s, opened)


def opened_files() -> set[tuple[int, int]]:
    """Return the device and inode of each file that a process has open, as far as we may see it.

    Only Linux tells (`/proc`). The files of other users' processes are seen by root alone; there the age of the file
    has to do.
    """
    opened = set()
    own = str(os.getpid())
    for process in _names("/proc"):
        if not process.isdecimal() or process == own:
            continue
        for number in _names(f"/proc/{process}/fd"):
            try:
                facts = os.stat(f"/proc/{process}/fd/{number}")
            except OSError:  # it was closed, or the process ended
                continue
            opened.add((facts.st_dev, facts.st_ino))
    return opened


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # no such process any more, another user's process, or no /proc
        return []


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _moved(folder: Path, levels: tuple[str, ...]) -> Iterator[os.DirEntry[str]]:
    for entry in _entries(folder):
        if levels and re.fullmatch(levels[0], entry.name, re.ASCII) and entry.is_dir(follow_symlinks=False):
            yield from _moved(Path(entry.path), levels[1:])
        elif not levels and not entry.is_dir(follow_symlinks=False):
            yield entry


def _old_file(entry: os.DirEntry[str], now: float, least_age_s: float, opened: set[tuple[int, int]]) -> OldFile:
    left = OldFile(Path(entry.path))
    if entry.is_symlink():
        return left._replace(reason="a link, which is not followed")
    if not entry.is_file(follow_symlinks=False):
        return left._replace(reason="no regular file")
    named = _named(entry.name)
    if named is None:
        return left._replace(reason="its name is none of Social Feed Manager's")
    stream, start_ms = named
    facts = entry.stat(follow_symlinks=False)
    found = OldFile(Path(entry.path), facts.st_size, stream, start_ms)
    if now - facts.st_mtime <= least_age_s:
        return found._replace(reason="may still be written: it was changed not long enough ago")
    if (facts.st_dev, facts.st_ino) in opened:
        return found._replace(reason="a process has it open")
    return found


def _named(name: str) -> tuple[str, int] | None:
    """Return the stream and the time that a name tells; None when it is no name of an old file."""
    found = _NAME.fullmatch(name)
    if found is None or not NAME.fullmatch(found["stream"]):
        return None
    clock = f"{found['day']}T{found['hour']}:{found['minute']}:{found['second']}"
    try:
        moment = datetime.strptime(clock, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return found["stream"], int(moment.timestamp() * 1000)
