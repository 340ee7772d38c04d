"""The description of a feed that its bodies are judged by: from its configuration, or else from the message."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from aggregator.config.hints import shorten
from aggregator.errors import Reject, Retry
from aggregator.feeds.messages.ticks import Downloaded
from aggregator.feeds.reading.fetched import Corrupt, Fetched, Reader
from aggregator.feeds.reading.timestamps import is_builtin, read_published, resolve
from aggregator.feeds.settings.current import Configured
from aggregator.runtime.context import Context


class About(NamedTuple):
    """The description of a feed, as far as it is needed to judge bodies."""

    url: str
    extension: str
    timestamp: str
    format: str
    stale_after_ms: int


class Descriptions:
    """The descriptions of all feeds."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.configured = Configured(context)
        self._readers: dict[str, Reader] = {}

    def about(self, told: Downloaded) -> About:
        """Return a feed's description from its configuration, or from the message if the feed is not configured.

        A message must not name a plugin: raises Retry while the configuration cannot be read, else Reject.
        """
        feed = self.configured.feed(told.feed)
        if feed is not None:
            stale_after_ms = round(feed.stale_after_s * 1000)
            return About(feed.shown_url, feed.extension, feed.timestamp, feed.format, stale_after_ms)
        if told.file and not is_builtin(told.timestamp):
            if self.configured.table.faults:
                raise Retry(f"the configuration of {told.feed} cannot be read: {self.configured.table.faults[0]}")
            raise Reject(
                f"{told.feed} is no configured feed any more, and messages name no plugins (found timestamp "
                f"{shorten(told.timestamp)}): its body stays where it is; configure the feed again, then requeue this"
            )
        return told_of(told)

    def read(self, told: Downloaded, about: About, fetched: Fetched) -> tuple[About, float]:
        """Return the description by which a body could be read, and when the body was published. Raises Corrupt."""
        try:
            return about, read_published(self._reader(about.timestamp), fetched)
        except Corrupt:
            before = told_of(told)
            if before.timestamp == about.timestamp or not is_builtin(before.timestamp):
                raise
            with suppress(Corrupt):
                return before, read_published(self._reader(before.timestamp), fetched)
            raise

    def _reader(self, timestamp: str) -> Reader:
        if timestamp not in self._readers:
            try:
                self._readers[timestamp] = resolve(timestamp, self.context.root)
            except ValueError as error:
                raise Retry(f"timestamp: {error}") from error
        return self._readers[timestamp]


def told_of(told: Downloaded) -> About:
    """Return the description of a feed in a message."""
    return About(told.url, told.extension, told.timestamp, told.format, told.stale_after_ms)
