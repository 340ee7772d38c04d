"""Find downloaded bodies without a message, and make messages for them from the facts on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from aggregator.feeds.fetching.results import tell_found
from aggregator.feeds.filtering.found import MOST, Found
from aggregator.feeds.messages.ticks import Downloaded
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.publications import Download, parse_download
from aggregator.feeds.settings.current import Configured
from aggregator.feeds.settings.table import Feed
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Cursor

UNTOLD_AFTER_S = 60.0
"""How old a body without a message must be to count as forgotten, while no message waits for `filter`.

A message is sent as soon as its body is complete, so the message of an older body is lost. If it comes after all, only
the first of the two messages counts.
"""


class Untold:
    """The downloaded bodies of all feeds that have no message."""

    def __init__(self, context: Context, folders: FeedFolders, configured: Configured) -> None:
        self.context = context
        self.folders = folders
        self.configured = configured
        self.found = Found()

    def look(self, now: float) -> Iterator[Downloaded | Cursor]:
        """Yield messages for bodies without one; call this only while no message waits. Raises OSError."""
        yield from self.found.forget(self._lies_there)
        told = 0
        without_feed: dict[str, int] = {}
        for path, download in self._bodies(now):
            feed = self.configured.feed(download.feed)
            if feed is None:
                without_feed[download.feed] = without_feed.get(download.feed, 0) + 1
                continue
            if told == MOST:
                self.found.hurry()
                break
            with suppress(FileNotFoundError):
                message = self._message(path, feed)
                yield self.found.tell(_name(path))
                if message is not None:
                    told += 1
                    yield message
        self._report(without_feed)
        self._count(told)

    def before(self, name: str, planned_ms: int) -> Iterator[Downloaded]:
        """Yield messages for the first bodies of a feed that were planned before a tick. Raises OSError.

        For a feed of which Redis knows nothing: their messages are lost with its state, or are behind that of the tick.
        """
        feed = self.configured.feed(name)
        told = 0
        for path, download in self._bodies_of(name) if feed else ():
            if told == MOST or download.planned_ms >= planned_ms:
                break
            assert feed
            with suppress(FileNotFoundError):
                message = self._message(path, feed)
                if message is not None:
                    told += 1
                    yield message
        self._count(told)

    def _bodies(self, now: float) -> Iterator[tuple[Path, Download]]:
        """Yield the bodies without a message that are old enough, in the order in which they were planned."""
        for folder in _scan(self.folders.downloads):
            if folder.is_dir(follow_symlinks=False):
                for path, download in self._bodies_of(folder.name):
                    with suppress(FileNotFoundError):
                        if abs(now - path.stat(follow_symlinks=False).st_mtime) > UNTOLD_AFTER_S:
                            yield path, download

    def _bodies_of(self, feed: str) -> Iterator[tuple[Path, Download]]:
        """Yield the bodies of a feed that no found message tells of, in the order in which they were planned."""
        for entry in sorted(_scan(self.folders.downloads / feed), key=lambda entry: entry.name.removeprefix(".")):
            name = entry.name.removeprefix(".")
            with suppress(ValueError):
                download = parse_download(name)
                is_body = entry.is_file(follow_symlinks=False) and download.feed == feed
                if is_body and not self.found.is_told(name):
                    yield Path(entry.path), download

    def _message(self, path: Path, feed: Feed) -> Downloaded | None:
        """Return a message for a body; None when the body is damaged, which is reported."""
        message = tell_found(feed, path, self.context.root)
        if message is None:
            self.context.report(
                "download_damaged",
                f"{path} is not what was downloaded: its hash is another",
                "look at the file, and remove it: no message tells of it",
                about=path.name,
                lasting=True,
            )
        return message

    def _count(self, told: int) -> None:
        if told:
            self.context.count("found", told)
            self.context.log.warning("bodies_found count=%d: no message told of them, so they are taken now", told)

    def _lies_there(self, name: str) -> bool:
        folder = self.folders.downloads / parse_download(name).feed
        return (folder / name).exists() or (folder / f".{name}").exists()

    def _report(self, without_feed: dict[str, int]) -> None:
        if self.configured.table.faults:
            return  # the feed may be among those whose configuration cannot be read now
        for feed, count in without_feed.items():
            self.context.report(
                "body_without_feed",
                f"{count} downloads of {feed} wait in {self.folders.downloads / feed}, and the feed is not configured",
                "configure the feed again until they are taken, or remove the folder",
                about=feed,
                lasting=True,
            )


def _name(path: Path) -> str:
    return path.name.removeprefix(".")


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
    return []
