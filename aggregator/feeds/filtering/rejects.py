"""Keep rejected bodies for a while as evidence, each with the reason and the headers."""

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
"""The time between two searches for rejects that are too old."""
ROOM = 0.1
"""The share of the bound that is freed at once, so that not every new reject makes the folder be read again."""


class Rejects:
    """The rejected downloads of all feeds."""

    def __init__(self, folders: FeedFolders, max_age_s: float, max_bytes: int) -> None:
        self.folders = folders
        self.max_age_s = max_age_s
        self.max_bytes = max_bytes
        """The bound for each feed, so that a feed that sends only rubbish does not displace the evidence of others."""
        self._kept_bytes: dict[str, int] = {}
        self._swept_at: float | None = None

    def add(self, feed: str, planned_ms: int, extension: str, source: Path, report: dict[str, Any], now: float) -> None:
        """Move a body to the rejects, with its report beside it. Raises Unavailable when the disk is full."""
        path = self.folders.reject(feed, planned_ms, extension)
        with PartialFile(path.parent, path.name) as partial:
            partial.write(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
            # order: report, then body, so that a body that is gone from the downloads always has its report here
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
        """Delete rejects that are too old, at most once an hour; feeds without new rejects are included."""
        if self._swept_at is not None and 0 <= now - self._swept_at < SWEEP_EVERY_S:
            return
        for folder in _entries(self.folders.rejected):
            if folder.is_dir(follow_symlinks=False):
                self._prune(folder.name, self.max_bytes, now)
        self._swept_at = now

    def _bound(self, feed: str, path: Path, now: float) -> None:
        """Keep the rejects of a feed within the bound after a reject was added."""
        if feed in self._kept_bytes:
            self._kept_bytes[feed] += path.stat().st_size + _report(path).stat().st_size
        else:
            self._kept_bytes[feed] = sum(entry.stat(follow_symlinks=False).st_size for entry in _entries(path.parent))
        if self._kept_bytes[feed] > self.max_bytes:
            self._prune(feed, int(self.max_bytes * (1 - ROOM)), now)

    def _prune(self, feed: str, max_bytes: int, now: float) -> None:
        """Delete a feed's rejects that are too old, then the oldest until the rest fits; bodies before reports."""
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
