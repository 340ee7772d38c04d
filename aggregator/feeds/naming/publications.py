"""The file names of publications and downloads: how they are made and read."""

from __future__ import annotations

import re
from typing import NamedTuple

from aggregator.feeds.naming.bundles import is_manifest_name
from aggregator.feeds.naming.feednames import EXTENSION, LONGEST_NAME, is_feed_name, parse_extension
from aggregator.feeds.naming.stamps import STAMP, read_stamp, write_stamp

_VARIANT = r"([0-9a-f]{8}|[0-9a-f]{64})"
_PUBLICATION = re.compile(rf"(.+)-{STAMP}(?:-{_VARIANT})?\.({EXTENSION.pattern})", re.ASCII | re.DOTALL)
_DOWNLOAD = re.compile(r"(.+)-(\d{4}-\d\d-\d\dT\d{6})\.(\d{3})Z-([0-9a-f]{8})\.(.+)", re.ASCII | re.DOTALL)


class Publication(NamedTuple):
    """One publication of a feed, as described by its file name."""

    feed: str
    published_at: int
    extension: str
    variant: str = ""
    """The beginning of the body's hash, if another body has the same timestamp; else empty."""

    @property
    def file_name(self) -> str:
        """The name of the publication's file, and of its member in a bundle."""
        variant = f"-{self.variant}" if self.variant else ""
        return f"{self.feed}-{write_stamp(self.published_at)}{variant}.{self.extension}"


def parse_publication(file_name: str) -> Publication:
    """Read a publication's file name. Raises ValueError for any other name."""
    match = _PUBLICATION.fullmatch(file_name) if len(file_name) <= LONGEST_NAME else None
    if not match or is_manifest_name(file_name):
        raise ValueError(f"no publication's file name (found {file_name[:200]!r})")
    return Publication(match[1], read_stamp(match[2]), match[4], match[3] or "")


def is_publication_name(file_name: str) -> bool:
    """True for the file name of a publication; archives of other programs have names of another form."""
    try:
        parse_publication(file_name)
    except ValueError:
        return False
    return True


class Download(NamedTuple):
    """One body that a tick brought, as described by its file name."""

    feed: str
    planned_ms: int
    hash8: str
    """The first 8 digits of the body's SHA-256."""
    extension: str


def parse_download(file_name: str) -> Download:
    """Read the file name of a download. Raises ValueError for any other name."""
    match = _DOWNLOAD.fullmatch(file_name)
    if not match or not is_feed_name(match[1]):
        raise ValueError(f"no download's file name (found {file_name[:200]!r})")
    planned_ms = read_stamp(f"{match[2]}Z") * 1000 + int(match[3])
    return Download(match[1], planned_ms, match[4], parse_extension(match[5]))


def tick_name(feed: str, planned_ms: int, extension: str) -> str:
    """Return the file name of a tick's body, still without the body's hash."""
    stamp = write_stamp(planned_ms // 1000).removesuffix("Z")
    return f"{feed}-{stamp}.{planned_ms % 1000:03d}Z.{extension}"
