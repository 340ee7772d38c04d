"""Where the data of feeds lies and what it is called, on this disk and in a store. All times are UTC.

    downloads/NAME/NAME-yyyy-mm-ddThhmmss.mmmZ-HASH8.EXT        what a tick brought, named by when it was planned
    publications/NAME/yyyy-mm-ddThhmmssZ/PUBLICATION            the folder is named by the start of its bundle
    rejected/NAME/NAME-yyyy-mm-ddThhmmss.mmmZ.EXT, ….json       corrupt downloads; reason and headers
    bundles/yyyy-mm-dd/hh/NAME-yyyy-mm-ddThhmmssZ.tar.FORMAT    in a store the same below PREFIX
    newest/NAME.json                                            of feeds without a clock: what came last

A PUBLICATION is `NAME-yyyy-mm-ddThhmmssZ.EXT`, by the second of its timestamp. Other bytes under the same timestamp lie
beside it as `NAME-yyyy-mm-ddThhmmssZ-HASH8.EXT`, HASH8 being how their SHA-256 begins (all 64 digits should two begin
alike).
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
        """Return the folder and those right below it, without which no stage of feeds can work."""
        return self.folder, self.downloads, self.publications, self.rejected, self.bundles, self.newest

    def download(self, feed: str, planned_ms: int, extension: str) -> Path:
        """Return the file of the tick planned for a moment, still without the hash of what came."""
        return self.downloads / feed / tick_name(feed, planned_ms, extension)

    def reject(self, feed: str, planned_ms: int, extension: str) -> Path:
        """Return the file of a corrupt download; its reason goes beside it, with `.json` added."""
        return self.rejected / feed / tick_name(feed, planned_ms, extension)

    def period(self, feed: str, start: int) -> Path:
        """Return the folder of the publications that make one bundle."""
        return self.publications / feed / write_stamp(start)

    def publication(self, publication: Publication, period_s: int) -> Path:
        """Return the file of a publication."""
        folder = self.period(publication.feed, bundle_start(publication.published_at, period_s))
        return folder / publication.file_name

    def bundle(self, name: BundleName) -> Path:
        """Return the file of a bundle."""
        return self.bundles / name.path
