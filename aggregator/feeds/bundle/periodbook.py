"""The book of the open periods of all feeds: their state, when they may be closed, and their files on the disk.

Cursors of `compress`: `FEED/START` holds the revision of an open period, or `closed REVISION` when the period's bundle
is written and the files that it was made of are still to be deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from aggregator.feeds.bundle.openperiods import PeriodFolder
from aggregator.feeds.bundle.revisions import last_revision
from aggregator.feeds.bundle.storedfiles import report_left
from aggregator.feeds.naming.feednames import parse_feed_name
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.stamps import read_stamp, write_stamp
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Cursor

CLOSED = "closed "
LONGEST_PATIENCE_S = 3600.0


class Key(NamedTuple):
    """A feed and the start of a period, in Unix seconds."""

    feed: str
    start: int

    @property
    def name(self) -> str:
        """The name of the period's cursor and of its timer."""
        return f"{self.feed}/{write_stamp(self.start)}"


class Period(msgspec.Struct):
    """The state of an open period."""

    revision: int
    last_arrival: float
    """In Unix seconds; the start of this process if the period was open before."""
    timer_at: float = 0.0
    """When the last timer that this process set is due; 0 if it has set none."""
    has_records: bool = False
    """True once this process has written records of ticks for the period."""
    patience_s: float = 60.0
    """How long after its closing time and its timer the period must still be open for the timer to count as lost."""


class PeriodBook:
    """The open periods, each `period_s` long and closed `grace_s` after its end and its last arrival."""

    def __init__(self, folders: FeedFolders, period_s: int, grace_s: float, context: Context) -> None:
        self._folders = folders
        self._period_s = period_s
        self._grace_s = grace_s
        self._context = context
        self.open: dict[Key, Period] = {}
        self._closed: dict[Key, int] = {}
        """Periods whose bundle is written, with its revision; its source files are deleted after the commit."""
        self._cursors: dict[str, str | None] = {}

    def load(self) -> None:
        """Learn from the cursors which periods are open, and finish the work of a killed process. Raises OSError."""
        now = self._context.clock()
        states = read_states(self._context.cursors)
        self.open = {key: Period(revision, now) for key, (revision, is_open) in states.items() if is_open}
        self._closed = {key: revision for key, (revision, is_open) in states.items() if not is_open}
        self.clear()
        for key in self.open:
            self.folder(key).take_back(self.revision_of(key))

    def take_cursors(self) -> Iterator[Cursor]:
        """Yield the changes of cursors since the last call, which are to be committed."""
        cursors, self._cursors = self._cursors, {}
        for name, text in cursors.items():
            yield Cursor(name, text)

    def begin(self, key: Key, revision: int) -> None:
        """Open a period as the given revision."""
        self.open[key] = Period(revision, self._context.clock())
        self._cursors[key.name] = str(revision)

    def close(self, key: Key) -> None:
        """Note that the bundle of a period is written."""
        # order: commit the bundle's message, then delete the files it was made of
        self._closed[key] = self.open.pop(key).revision
        self._cursors[key.name] = f"{CLOSED}{self._closed[key]}"

    def clear(self) -> None:
        """Delete the source files of bundles whose messages are committed; try again later where that fails."""
        for key, revision in list(self._closed.items()):
            folder = self.folder(key)
            try:
                folder.clear(revision)
            except OSError as error:
                report_left(self._context, folder.folder, error)
                continue
            self._context.withdraw("not_removed", str(folder.folder))
            del self._closed[key]
            if key not in self.open:
                self._cursors.setdefault(key.name, None)

    # When a period may be closed

    def closes_at(self, key: Key) -> float:
        """Return when a period may be closed, as far as known now."""
        period, now = self.open[key], self._context.clock()
        # A clock that was set back must not keep a period open until the clock has caught up.
        period.last_arrival = min(period.last_arrival, now)
        # A feed with a wrong clock may publish in the future: do not wait for the end of a period far ahead.
        ends_at = key.start + self._period_s if key.start < now + self._period_s else 0
        return max(ends_at, period.last_arrival) + self._grace_s

    def delay_s(self, key: Key, least_s: float = 0.0) -> float:
        """Return the delay of a period's next timer, and remember when that timer is due."""
        now = self._context.clock()
        delay_s = max(self.closes_at(key) - now, least_s)
        self.open[key].timer_at = now + delay_s
        return delay_s

    def without_timer(self, now: float) -> Iterator[Key]:
        """Yield the periods whose timer is long overdue, and double the patience of each."""
        for key, period in self.open.items():
            if now > max(self.closes_at(key), period.timer_at) + period.patience_s:
                # the timer may not be lost, but be retried again and again as the period cannot be closed
                period.patience_s = min(period.patience_s * 2, LONGEST_PATIENCE_S)
                yield key

    # The files on the disk

    def folder(self, key: Key) -> PeriodFolder:
        """Return the folder of a period."""
        return PeriodFolder(self._folders.period(*key))

    def next_revision(self, key: Key) -> int:
        """Return the number of the revision after all that the disk still knows of."""
        return 1 + max(self.folder(key).last_listed(), last_revision(self._folders, *key))

    def revision_of(self, key: Key) -> int:
        """Return the revision of an open period, or the one that a closed period would be opened as."""
        period = self.open.get(key)
        return period.revision if period else self.next_revision(key)

    def find_unknown(self) -> Iterator[tuple[Key, int]]:
        """Yield each period that is not open though its folder has files, and its revision. Raises OSError."""
        for feed_folder in _folders_in(self._folders.publications):
            for folder in _folders_in(feed_folder):
                with suppress(ValueError):
                    key = Key(parse_feed_name(feed_folder.name), read_stamp(folder.name))
                    # the folders of open periods are not looked into: there may be very many
                    if key not in self.open and _holds_something(folder):
                        revision = self.next_revision(key)
                        # earlier bundles may be archived and deleted, and then this revision is lower than before
                        self.folder(key).take_back(revision)
                        yield key, revision


def read_states(cursors: Mapping[str, str]) -> dict[Key, tuple[int, bool]]:
    """Return for each period in the cursors its revision, and whether it is open or only waits to be cleared."""
    states = {}
    for name, text in cursors.items():
        feed, _, stamp = name.rpartition("/")
        if feed:
            states[Key(feed, read_stamp(stamp))] = int(text.removeprefix(CLOSED)), not text.startswith(CLOSED)
    return states


def _holds_something(folder: Path) -> bool:
    publications, ticks = PeriodFolder(folder).bundled(revision=1 << 62)
    return bool(publications or ticks)


def _folders_in(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError):
        return sorted(path for path in folder.iterdir() if path.is_dir())
    return []
