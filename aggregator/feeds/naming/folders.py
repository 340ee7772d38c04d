"""The folders and file names of the data of feeds, on this disk and in a store. All times are UTC.

    downloads/NAME/NAME-yyyy-mm-ddThhmmss.mmmZ-HASH8.EXT        the body of a tick, named by the tick's planned time
    publications/NAME/yyyy-mm-ddThhmmssZ/PUBLICATION            the folder is named by the start of its bundle
    rejected/NAME/NAME-yyyy-mm-ddThhmmss.mmmZ.EXT, ….json       a corrupt download; the reason and headers
    bundles/yyyy-mm-dd/hh/NAME-yyyy-mm-ddThhmmssZ.tar.FORMAT    a bundle; in a store the same path below PREFIX, on
                                                                this disk with `.rN`, its revision, before `.tar`
    newest/NAME.json                                            the newest publication of a feed without a clock

A PUBLICATION is `NAME-yyyy-mm-ddThhmmssZ.EXT`, by the second of its timestamp. Another body with the same timestamp
lies beside it as `NAME-yyyy-mm-ddThhmmssZ-HASH8.EXT`. HASH8 is the first 8 digits of the body's SHA-256, or all 64
digits if two bodies share the first 8.
"""

from __future__ import annotations

from pathlib import Path

from aggregator.feeds.naming.bundles import BundleName
from aggregator.feeds.naming.publications import Publication, tick_name
from aggregator.feeds.naming.stamps import bundle_start, write_stamp


class FeedFolders:
    """The paths below the folder of an instance's feeds. Nothing here creates anything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.downloads = folder / "downloads"
        self.publications = folder / "publications"
        self.rejected = folder / "rejected"
        self.bundles = folder / "bundles"
        self.newest = folder / "newest"

    def all(self) -> tuple[Path, ...]:
        """Return the folder and its direct subfolders, without which no stage of feeds can work."""
        return self.folder, self.downloads, self.publications, self.rejected, self.bundles, self.newest

    def download(self, feed: str, planned_ms: int, extension: str) -> Path:
        """Return the path of a tick's body, still without the hash in its name."""
        return self.downloads / feed / tick_name(feed, planned_ms, extension)

    def reject(self, feed: str, planned_ms: int, extension: str) -> Path:
        """Return the path of a corrupt download; the report beside it has `.json` added."""
        return self.rejected / feed / tick_name(feed, planned_ms, extension)

    def period(self, feed: str, start: int) -> Path:
        """Return the folder of the publications that go into one bundle."""
        return self.publications / feed / write_stamp(start)

    def publication(self, publication: Publication, period_s: int) -> Path:
        """Return the path of a publication."""
        folder = self.period(publication.feed, bundle_start(publication.published_at, period_s))
        return folder / publication.file_name

    def bundle(self, name: BundleName) -> Path:
        """Return the path of a bundle."""
        return self.bundles / name.path
