"""Keep what was no publication, as evidence: the body, why it was refused, and the headers; not for ever."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from aggregator.feeds.landing import Landing, sync_folder
from aggregator.feeds.layout import FeedFolders

PRUNE_EVERY = 50
"""Rejects of a feed between two looks at how many are kept."""


class Rejects:
    """The rejected downloads of all feeds."""

    def __init__(self, folders: FeedFolders, max_age_s: float, max_bytes: int) -> None:
        self.folders = folders
        self.max_age_s = max_age_s
        self.max_bytes = max_bytes
        """Of each feed: one that sends rubbish only must not push out the evidence of others."""
        self._added: dict[str, int] = {}

    def add(self, feed: str, planned_ms: int, extension: str, source: Path, report: dict[str, Any], now: float) -> None:
        """Move a body here, with its report beside it. Raises Unavailable when the disk is full."""
        path = self.folders.reject(feed, planned_ms, extension)
        with Landing(path.parent, path.name) as landing:
            landing.write(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
            # order: report, then body: a body that has gone from where it came can be looked up here
            landing.keep(f"{path.name}.json")
        os.replace(source, path)
        for kept in (path, path.with_name(f"{path.name}.json")):
            os.utime(kept, (now, now))
        sync_folder(path.parent)
        if self._added.get(feed, 0) % PRUNE_EVERY == 0:
            self.prune(path.parent, now)
        self._added[feed] = self._added.get(feed, 0) + 1

    def find(self, feed: str, planned_ms: int, extension: str) -> dict[str, Any] | None:
        """Return the report on the body of a tick, if it was rejected."""
        path = self.folders.reject(feed, planned_ms, extension)
        try:
            report: dict[str, Any] = msgspec.json.decode(path.with_name(f"{path.name}.json").read_bytes())
        except FileNotFoundError:
            return None
        return report

    def prune(self, folder: Path, now: float) -> None:
        """Remove what is too old, and the oldest of what is too much."""
        found = sorted(((entry.stat().st_mtime, entry) for entry in os.scandir(folder)), key=lambda pair: pair[0])
        excess = sum(entry.stat().st_size for _, entry in found) - self.max_bytes
        for mtime, entry in found:
            if now - mtime <= self.max_age_s and excess <= 0:
                return
            excess -= entry.stat().st_size
            Path(entry.path).unlink(missing_ok=True)
