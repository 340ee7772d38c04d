"""Move files and records into the folders of other periods after the length of bundles was changed."""

from __future__ import annotations

import filecmp
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from aggregator.feeds.bundle.openperiods import PeriodFolder, Record, published_at
from aggregator.feeds.bundle.records import parts_of
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.publications import parse_publication
from aggregator.feeds.naming.stamps import bundle_start
from aggregator.files.durable import sync_folders


class Strays(NamedTuple):
    """The records and publications in a folder that belong to other periods, by the start of those periods."""

    records: dict[int, list[Record]]
    publications: dict[int, list[str]]

    @property
    def starts(self) -> list[int]:
        """The starts of the periods that the strays belong to."""
        return sorted({*self.records, *self.publications})


class Refiling:
    """The folder of one revision of a period, and the length that periods have now."""

    def __init__(self, folders: FeedFolders, feed: str, start: int, period_s: int, revision: int) -> None:
        self.folders = folders
        self.feed = feed
        self.start = start
        self.period_s = period_s
        self.revision = revision
        self.folder = PeriodFolder(folders.period(feed, start))

    def find(self) -> Strays:
        """Return the records and publications that belong to other periods."""
        strays = Strays({}, {})
        for name in self.folder.bundled(self.revision)[0]:
            home = bundle_start(parse_publication(name).published_at, self.period_s)
            if home != self.start:
                strays.publications.setdefault(home, []).append(name)
        for home, part in self._parts():
            if home != self.start:
                strays.records.setdefault(home, []).append(part)
        return strays

    def move(self, strays: Strays, revisions: Mapping[int, int]) -> None:
        """Move strays to their periods, given the revision of each; copies that a kill leaves behind do no harm."""
        # order: durable in the new folder, then deleted here
        for home, records in strays.records.items():
            sync_folders(PeriodFolder(self.folders.period(self.feed, home)).append(revisions[home], records))
        for home, names in strays.publications.items():
            folder = self.folders.period(self.feed, home)
            folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                path = self.folder.folder / name
                path.rename(_free(path, folder / name))
            sync_folders([folder, folder.parent, self.folder.folder])
        if strays.records:
            self.folder.replace_records(self.revision, [part for home, part in self._parts() if home == self.start])

    def _parts(self) -> Iterator[tuple[int, Record]]:
        for record in self.folder.records(self.folder.bundled(self.revision)[1]):
            yield from parts_of(record, published_at(record), self.period_s)


def _free(path: Path, target: Path) -> Path:
    """Return a name that a publication can take without replacing a different one."""
    if not target.exists() or filecmp.cmp(path, target, shallow=False):
        return target
    variant = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return target.with_name(parse_publication(path.name)._replace(variant=variant).file_name)
