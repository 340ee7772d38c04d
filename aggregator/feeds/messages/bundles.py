"""The messages of `compress` and `archive`: bundles, and timers that each stage sends to itself."""

from __future__ import annotations

from typing import Annotated

import msgspec

from aggregator.config.hints import shorten
from aggregator.feeds.bundle.compression import Level
from aggregator.feeds.messages.checks import check_feed, check_sha256, check_start
from aggregator.feeds.naming.bundles import BundleName, parse_key, parse_revision
from aggregator.feeds.naming.stamps import read_stamp
from aggregator.runtime.kinds import Kind

BUNDLES = "data/feeds/bundles/"
"""The folder of local bundles, relative to the instance's folder; every path of a bundle begins with it."""
Number = Annotated[int, msgspec.Meta(ge=1, lt=10**9)]


class Close(Kind, frozen=True, omit_defaults=True, kw_only=True, tag="close"):
    """Close a period if it is due."""

    feed: str
    start: str
    """When the period begins, `yyyy-mm-ddThhmmssZ`."""
    force: bool = False
    """True to close the period even if it is not due."""

    def __post_init__(self) -> None:
        check_feed(self.feed)
        check_start(self.start)


class Clear(Kind, frozen=True, kw_only=True, tag="clear"):
    """Delete the files that a revision was made of, now that its bundle is committed."""

    feed: str
    start: str
    revision: Number

    def __post_init__(self) -> None:
        check_feed(self.feed)
        check_start(self.start)


class Bundle(Kind, frozen=True, kw_only=True, tag="bundle"):
    """A bundle that was written and read back."""

    feed: str
    start: str
    revision: Number
    file: str
    """The path relative to the instance's folder."""
    sha256: str
    size: int = 0
    contents_id: str
    level: Level

    def __post_init__(self) -> None:
        check_feed(self.feed)
        check_start(self.start)
        check_sha256(self.sha256)
        check_sha256(self.contents_id)
        parse_revision(_key(self.file))

    @property
    def name(self) -> BundleName:
        """The feed, period and format. Raises ValueError when the file's name contradicts the message."""
        name, number = parse_revision(_key(self.file))
        if (name.feed, name.start, number) != (self.feed, read_stamp(self.start), self.revision):
            raise ValueError(f"no file of this feed, period and revision (found {shorten(self.file, 200)})")
        return name


class Remove(Kind, frozen=True, kw_only=True, tag="remove"):
    """Delete a local bundle that is in the store."""

    file: str
    sha256: str

    def __post_init__(self) -> None:
        folders = _key(self.file).split("/")
        if len(folders) != 3 or any(part in ("", ".", "..") for part in folders) or ".tar." not in folders[2]:
            raise ValueError(f"not among our bundles (found {shorten(self.file, 200)})")


class Unite(Kind, frozen=True, kw_only=True, tag="unite"):
    """Merge the objects of a feed and period in the store."""

    feed: str
    start: str
    format: str
    level: Level

    def __post_init__(self) -> None:
        check_feed(self.feed)
        check_start(self.start)
        parse_key(BundleName(self.feed, read_stamp(self.start), self.format).path)


class Recorded(Kind, frozen=True, kw_only=True, tag="recorded"):
    """A file of a stream is finished; `aggregator.streams.messages` has all of the message, and checks it."""

    stream: str
    file: str
    sidecar: str
    sha256: str


def _key(file: str) -> str:
    """Return a bundle's path below the folder of bundles. Raises ValueError for a file elsewhere."""
    if not file.startswith(BUNDLES):
        raise ValueError(f"not among our bundles (found {shorten(file, 200)})")
    return file.removeprefix(BUNDLES)
