"""The bodies that `download` left for the filter: each stays until what was decided on it is committed.

    downloads/NAME/FILE     nobody has decided on it yet
    downloads/NAME/.FILE    the filter has; it goes once that is committed

A publication is a second name of the same file. So a message that comes again after a kill finds its body, however long
that was, and whatever became of the publication meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from aggregator.feeds.naming.folders import FeedFolders


class Downloads:
    """What lies in the folders of downloads."""

    def __init__(self, folders: FeedFolders) -> None:
        self.folders = folders
        self._decided: list[Path] = []

    def find(self, path: Path) -> Path | None:
        """Return where the body of a download lies, if it does."""
        return next((place for place in (path, _decided_name(path)) if place.is_file()), None)

    def has(self, path: Path) -> bool:
        """Return whether a file is one of these bodies, and no publication."""
        return path.parent.parent == self.folders.downloads

    def publish(self, path: Path, target: Path) -> None:
        """Give a body its name among the publications; doing it again does no harm."""
        # order: named there, then marked here
        if not target.exists():
            os.link(path, target)
        if self.has(path):
            self.decide(path)

    def decide(self, path: Path) -> None:
        """Keep a body for as long as its message may come again."""
        decided = _decided_name(path)
        if path != decided:
            path.rename(decided)
        self._decided.append(decided)

    def remove(self, path: Path) -> None:
        """Remove a body that is known, whether or not something was decided on it before."""
        for place in (path, _decided_name(path)):
            place.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what was decided on; to be called when that was committed."""
        while self._decided:
            self._decided[-1].unlink(missing_ok=True)
            self._decided.pop()

    def clean(self, last_planned_ms: Mapping[str, int]) -> None:
        """Remove what a killed process left, given the last tick of each feed that was committed."""
        for path in self.folders.downloads.glob("*/.*"):
            feed, name = path.parent.name, path.name.removeprefix(".")
            if feed in last_planned_ms and name.startswith(f"{feed}-") and path.is_file():
                after = self.folders.download(feed, last_planned_ms[feed] + 1, "").name
                if name < after:
                    path.unlink(missing_ok=True)


def _decided_name(path: Path) -> Path:
    return path if path.name.startswith(".") else path.with_name(f".{path.name}")
