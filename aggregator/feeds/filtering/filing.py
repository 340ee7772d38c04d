"""File bodies under their names among the publications; the names are durable once `sync` was called."""

from __future__ import annotations

import filecmp
import hashlib
from pathlib import Path

from aggregator.feeds.bundle.manifest import Tick
from aggregator.feeds.filtering.downloads import Downloads
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.publications import Publication
from aggregator.files.durable import sync_folder


class Filing:
    """The publications of all feeds, in folders of one bundle's length each."""

    def __init__(self, folders: FeedFolders, bodies: Downloads, period_s: int) -> None:
        self.folders = folders
        self.bodies = bodies
        self.period_s = period_s
        self._unsynced: set[Path] = set()

    def choose(self, plain: Publication, tick: Tick, path: Path, *, is_taken: bool) -> Path:
        """Return the first of the possible names that is free, or already holds this body.

        `is_taken` says that the plain name is known to belong to another body, which may be archived by now.
        """
        for variant in (*(() if is_taken else ("",)), tick.sha256[:8]):
            target = self.folders.publication(plain._replace(variant=variant), self.period_s)
            if not target.exists() or filecmp.cmp(path, target, shallow=False):
                return target
        return self.folders.publication(plain._replace(variant=tick.sha256), self.period_s)

    def lay_down(self, path: Path, target: Path) -> None:
        """Give a body its name; a repetition does no harm."""
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            self._unsynced |= {target.parent.parent, target.parent.parent.parent}
        self.bodies.publish(path, target)
        self._unsynced.add(target.parent)

    def find(self, feed: str, tick: Tick) -> Path | None:
        """Find a body among the publications, where it is if it was filed in a step that Redis has lost since."""
        for path in sorted((self.folders.publications / feed).glob("*/*"), reverse=True):
            same_size = path.is_file() and path.stat().st_size == tick.size_bytes
            if same_size and hashlib.sha256(path.read_bytes()).hexdigest() == tick.sha256:
                return path
        return None

    def sync(self) -> None:
        """Make the new names durable. Raises OSError."""
        for folder in list(self._unsynced):
            if folder.is_dir():
                sync_folder(folder)
            self._unsynced.discard(folder)
