"""Keep what was no publication, as evidence: the body, why it was refused, and the headers; not for ever."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from aggregator.feeds.fetching.partialfile import PartialFile
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.files.durable import sync_folder

SWEEP_EVERY_S = 3600.0
"""Between two looks at how old the rejects of all feeds are."""
ROOM = 0.1
"""The part of the bound that is made free at once, so that not every reject has the folder read again."""


class Rejects:
    """The rejected downloads of all feeds."""

    def __init__(self, folders: FeedFolders, max_age_s: float, max_bytes: int) -> None:
        self.folders = folders
        self.max_age_s = max_age_s
        self.max_bytes = max_bytes
        """Of each feed: one that sends rubbish only must not push out the evidence of others."""
        self._kept_bytes: dict[str, int] = {}
        self._swept_at: float | None = None

    def add(self, feed: str, planned_ms: int, extension: str, source: Path, report: dict[str, Any], now: float) -> None:
        """Move a body here, with its report beside it. Raises Unavailable when the disk is full."""
        path = self.folders.reject(feed, planned_ms, extension)
        with PartialFile(path.parent, path.name) as partial:
            partial.write(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
            # order: report, then body: a body that has gone from where it came can be looked up here
            partial.keep(_report(path).name)
        os.replace(source, path)
        for kept in (path, _report(path)):
            os.utime(kept, (now, now))
        sync_folder(path.parent)
        self._bound(feed, path, now)

    def find(self, feed: str, planned_ms: int, extension: str) -> dict[str, Any] | None:
        """Return the report on the body of a tick, if it was rejected."""
        path = self.folders.reject(feed, planned_ms, extension)
        try:
            report: dict[str, Any] = msgspec.json.decode(_report(path).read_bytes())
        except FileNotFoundError:
            return None
        return report

    def sweep(self, now: float) -> None:
        """Remove what is too old, of feeds that send no more rubbish too; at most once an hour."""
        if self._swept_at is not None and 0 <= now - self._swept_at < SWEEP_EVERY_S:
            return
        for folder in _entries(self.folders.rejected):
            if folder.is_dir(follow_symlinks=False):
                self._prune(folder.name, self.max_bytes, now)
        self._swept_at = now

    def _bound(self, feed: str, path: Path, now: float) -> None:
        """See that not too much of a feed is kept, now that a reject was added."""
        if feed in self._kept_bytes:
            self._kept_bytes[feed] += path.stat().st_size + _report(path).stat().st_size
        else:
            self._kept_bytes[feed] = sum(entry.stat(follow_symlinks=False).st_size for entry in _entries(path.parent))
        if self._kept_bytes[feed] > self.max_bytes:
            self._prune(feed, int(self.max_bytes * (1 - ROOM)), now)

    def _prune(self, feed: str, max_bytes: int, now: float) -> None:
        """Remove what is too old of a feed, and the oldest of what is too much; of one reject the body first."""
        found = []
        for entry in _entries(self.folders.rejected / feed):
            if entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                found.append((status.st_mtime, entry.name, status.st_size))
        kept = sum(size for _, _, size in found)
        for mtime, name, size in sorted(found):
            if now - mtime <= self.max_age_s and kept <= max_bytes:
                break
            (self.folders.rejected / feed / name).unlink(missing_ok=True)
            kept -= size
        self._kept_bytes[feed] = kept


def _report(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        return list(entries)
    return []
