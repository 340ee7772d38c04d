"""The bodies that `download` left for the filter: each is kept until the decision on it is committed.

    downloads/NAME/FILE     the filter has not decided on it yet
    downloads/NAME/.FILE    the filter has decided; the file is deleted once the decision is committed

A publication is a second name (a hard link) of the same file. So a message that comes again after a kill finds its
body, however much later it comes, and even if the publication was bundled and deleted meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from aggregator.feeds.naming.folders import FeedFolders


class Downloads:
    """The bodies in the folders of downloads."""

    def __init__(self, folders: FeedFolders) -> None:
        self.folders = folders
        self._decided: list[Path] = []

    def find(self, path: Path) -> Path | None:
        """Return where the body of a download is, or None."""
        return next((place for place in (path, _decided_name(path)) if place.is_file()), None)

    def has(self, path: Path) -> bool:
        """Return whether a file is in the folders of downloads, and not a publication."""
        return path.parent.parent == self.folders.downloads

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Keep the body of a message whose handling fails: the next commit is that of other messages alone."""
        before = len(self._decided)
        try:
            yield
        except BaseException:
            del self._decided[before:]
            raise

    def publish(self, path: Path, target: Path) -> None:
        """Give a body its name among the publications; a repetition does no harm."""
        # order: link the publication, then mark the download as decided
        if not target.exists():
            os.link(path, target)
        if self.has(path):
            self.decide(path)

    def decide(self, path: Path) -> None:
        """Mark a body as decided on, and keep it while its message may come again."""
        decided = _decided_name(path)
        if path != decided:
            path.rename(decided)
        self._decided.append(decided)

    def remove(self, path: Path) -> None:
        """Delete a body that is a repetition, whether or not it was decided on before."""
        for place in (path, _decided_name(path)):
            place.unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete the bodies that were decided on; call this after the commit."""
        while self._decided:
            self._decided[-1].unlink(missing_ok=True)
            self._decided.pop()

    def clean(self, last_planned_ms: Mapping[str, int]) -> None:
        """Delete decided bodies that a killed process left, given the last committed tick of each feed."""
        for path in self.folders.downloads.glob("*/.*"):
            feed, name = path.parent.name, path.name.removeprefix(".")
            if feed in last_planned_ms and name.startswith(f"{feed}-") and path.is_file():
                after = self.folders.download(feed, last_planned_ms[feed] + 1, "").name
                if name < after:
                    path.unlink(missing_ok=True)


def _decided_name(path: Path) -> Path:
    return path if path.name.startswith(".") else path.with_name(f".{path.name}")
