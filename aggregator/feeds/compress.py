"""The stage `compress`: the publications and ticks of each feed and period become one bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from os.path import realpath
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec

from aggregator.config.settings import Bounds, Doc, Duration, TargetQueue, choice
from aggregator.config.traits import Traits
from aggregator.errors import Reject
from aggregator.feeds.bundle.compression import Level
from aggregator.feeds.bundle.openperiods import PeriodFolder, Record
from aggregator.feeds.bundle.records import records_of
from aggregator.feeds.bundle.refiling import Refiling
from aggregator.feeds.bundle.revisions import Revision, build_revision, last_revision
from aggregator.feeds.messages.bundles import Bundle, Clear, Close
from aggregator.feeds.messages.ticks import Filtered, Missed, decode, encode
from aggregator.feeds.naming.layout import (
    FORMATS,
    BundleName,
    BundlePeriod,
    FeedFolders,
    parse_feed_name,
    read_stamp,
    write_stamp,
)
from aggregator.files.durable import sync_folders
from aggregator.files.faults import fault_of_message, stage_wide
from aggregator.runtime.context import Context
from aggregator.runtime.contract import ConsumerSettings, Cursor, Emits, Outcome, Send, Settled, Stage
from aggregator.runtime.message import Message

REARMED = "/rearmed"
"""The cursor with the hour in which periods were last looked through for one without a timer."""
CLOSED = "closed "
"""How the cursor of a period begins whose bundle is written, and whose members have still to go."""
SET_BACK_S = 60.0
"""By how much the clock may go back without anything being made of it."""
LOOK_EVERY_S = 60.0
LONGEST_PATIENCE_S = 3600.0
PATIENCE = 10
"""For how many times `grace` a period waits for publications that lie there and were not heard of."""


class Period(msgspec.Struct):
    """What is known of a feed and period that is open."""

    revision: int
    last_arrival: float
    """In Unix seconds; of one that was open before this process started, its start."""
    timer_at: float = 0.0
    """When the last timer is due that this process has set; of one that was open before, nobody knows."""
    has_records: bool = False
    """True once this process has written records of ticks for its bundle."""
    patience_s: float = 60.0
    """How long after its timer, and its time to close, a period waits for another timer."""


class Compress(Stage):
    """Bundle what was published and what became of every tick, one bundle a feed and period.

    In: of kind `filtered`: `feed`, `tick` (as in a manifest), `publication` (the file's name or ''), `published_ms`
    (Unix milliseconds or null), `url`, `period_ms` (of the feed), `node`, `instance`. Of kind `missed`: `feed`,
    `missed_from_ms`, `missed_to_ms`, `url`, `period_ms`, `node`, `instance`. To itself, as a timer: `close`, with
    `feed` and `start`.
    Out: of kind `bundle`: `feed`, `start` (yyyy-mm-ddThhmmssZ), `revision`, `file` (from the instance's folder),
    `sha256`, `size` (bytes), `contents_id`, `level`.
    Effect: a bundle below `data/feeds/bundles`; the publications in it go once its message is committed. A period
    closes `grace` after both its end and its last arrival; what comes later makes another bundle, the next revision.
    Errors: a body that is none of these is set aside; a full or read-only disk pauses the worker.
    Source: docs/feeds.md.
    """

    traits = Traits(exclusive=True, names_files=True)
    accepts = (Filtered, Missed, Close, Clear)
    emits: ClassVar[Emits] = {"pushto": (Bundle,)}

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        """What a section of this stage may say."""

        pushto: Annotated[TargetQueue, Doc("the queue that bundles go to")]
        grace: Annotated[Duration, Doc("how long after its end and its last arrival a period is closed"), Bounds(0)] = (
            120.0
        )
        bundle: Annotated[BundlePeriod, Doc("how much time one bundle covers; `filter` must say the same")] = 3600
        format: Annotated[
            str, choice(*FORMATS), Doc("how bundles are compressed; left out: zst, or xz where level = small")
        ] = ""
        level: Annotated[Level, choice("default", "small"), Doc("small takes more time for smaller bundles")] = (
            "default"
        )

    settings: Settings

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.folders = FeedFolders(context.path("data/feeds"))
        self.periods: dict[tuple[str, int], Period] = {}
        self._unknown: dict[tuple[str, int], int] = {}
        self._records: dict[tuple[str, int], list[Record]] = {}
        self._refiled: set[tuple[str, int]] = set()
        self._unsynced: set[Path] = set()
        self._now = self._looked_at = context.clock()
        self._cursors: dict[str, str | None] = {}
        self._closed: dict[tuple[str, int], int] = {}
        """Periods whose bundle is written, by revision: what it is made of goes once that is committed."""

    @classmethod
    def belongings(cls, settings: Any, root: Path) -> tuple[str, ...]:
        """The periods that are open are folders of this one."""
        return (f"compress:{realpath(root / 'data/feeds')}",)

    def start(self) -> None:
        """Learn which periods are open, and remove bundles that a killed process did not finish."""
        now = self.context.clock()
        with stage_wide():
            for part in self.folders.bundles.rglob(".*.part"):
                part.unlink(missing_ok=True)
        states = period_states(self.context.cursors)
        self.periods = {period: Period(revision, now) for period, (revision, is_open) in states.items() if is_open}
        self._closed = {period: revision for period, (revision, is_open) in states.items() if not is_open}
        self.committed()  # which the process before this one did not come to
        with stage_wide():
            for feed, start in self.periods:
                self._folder(feed, start).take_back(self._revision_of(feed, start))
            self._unknown = dict(self._find_unknown())
        self._looked_at = now

    def seed(self) -> Iterator[Send | Cursor]:
        """Open what lies on the disk and nobody knows of, and close what should have been closed long ago."""
        now = self.context.clock()
        for (feed, start), revision in self._unknown.items():
            self.periods[feed, start] = Period(revision, now)
            yield Cursor(_cursor_name(feed, start), str(revision))
            yield self._timer(feed, start)
        hour = str(int(now // 3600))
        if self.context.cursors.get(REARMED) != hour:
            # A timer may have been dropped from the dead letters. A second one does no harm, but not at every start.
            yield Cursor(REARMED, hour)
            for feed, start in self.periods:
                if now > start + self.settings.bundle + (PATIENCE + 1) * self.settings.grace:
                    yield self._timer(feed, start)

    def idle(self, now: float) -> Iterator[Send | Cursor]:
        """Once a minute open what lies on the disk unknown, and set the timers that are lost."""
        yield from self._take_cursors()
        if abs(now - self._looked_at) < LOOK_EVERY_S:
            return
        self._looked_at = now
        with stage_wide():
            unknown = dict(self._find_unknown())
        for (feed, start), revision in unknown.items():
            self.context.log.warning("period_found feed=%s start=%s: nothing told of it", feed, write_stamp(start))
            self.context.count("found")
            self.periods[feed, start] = Period(revision, now)
            yield Cursor(_cursor_name(feed, start), str(revision))
            yield self._timer(feed, start)
        for (feed, start), period in self.periods.items():
            if now > max(self._closes_at(start, period), period.timer_at) + period.patience_s:
                self.context.log.warning("timer_lost feed=%s start=%s: set again", feed, write_stamp(start))
                # a timer that is tried again and again, as the period cannot be closed, is no lost one
                period.patience_s = min(period.patience_s * 2, LONGEST_PATIENCE_S)
                yield self._timer(feed, start)

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Take in a tick, or close a period."""
        told = decode(message.raw, *self.accepts)
        with fault_of_message(*self.folders.all()):
            if isinstance(told, Close):
                yield from self._close(told.feed, read_stamp(told.start), force=told.force)
            elif isinstance(told, Clear):  # sent by a version that cleared up by messages
                self._folder(told.feed, read_stamp(told.start)).clear(told.revision)
            elif isinstance(told, Filtered | Missed):
                yield from self._take(told)
        yield from self._watch_clock()

    def _watch_clock(self) -> Iterator[Outcome]:
        """Set new timers when the clock was set back: the old ones rest until it has caught up."""
        before, self._now = self._now, self.context.clock()
        if self._now < before - SET_BACK_S:
            for feed, start in self.periods:
                yield self._timer(feed, start)

    def settle(self, now: float) -> Iterator[Settled]:
        """Make the records of the ticks handled durable."""
        with stage_wide():
            for feed, start in list(self._records):
                self._write(feed, start)
            sync_folders(self._unsynced)
            self._unsynced.clear()
        yield from self._take_cursors()

    def _take_cursors(self) -> Iterator[Cursor]:
        cursors, self._cursors = self._cursors, {}
        for name, text in cursors.items():
            yield Cursor(name, text)

    def committed(self) -> None:
        """Remove what bundles are made of, now that they are on their way."""
        with stage_wide():
            while self._closed:
                period, revision = next(iter(self._closed.items()))
                self._folder(*period).clear(revision)
                del self._closed[period]
                if period not in self.periods:
                    self._cursors.setdefault(_cursor_name(*period), None)

    def _take(self, arrival: Filtered | Missed) -> Iterator[Outcome]:
        """Keep the records of a tick, and see that the periods it touches are open."""
        period_s = self.settings.bundle
        rows = records_of(arrival, period_s)
        feed, starts = arrival.feed, dict.fromkeys(start for start, _ in rows)
        # order: all that may fail, then what is remembered
        try:
            revisions = {
                start: self._next_revision(feed, start) for start in starts if (feed, start) not in self.periods
            }
        except ValueError as error:
            raise Reject(str(error)) from error
        for start, record in rows:
            self._records.setdefault((feed, start), []).append(record)
        for start in starts:
            yield from self._open(feed, start, revisions.get(start))

    def _open(self, feed: str, start: int, revision: int | None) -> Iterator[Outcome]:
        """Open a period as a revision, or note that something more came of one that is open."""
        if revision is None:
            self.periods[feed, start].last_arrival = self.context.clock()
            return
        self.periods[feed, start] = Period(revision, self.context.clock())
        self._cursors[_cursor_name(feed, start)] = str(revision)
        yield self._timer(feed, start)

    def _timer(self, feed: str, start: int, least_s: float = 0.0) -> Send:
        period, now = self.periods[feed, start], self.context.clock()
        delay_s = max(self._closes_at(start, period) - now, least_s)
        period.timer_at = now + delay_s
        close = encode(Close(feed=feed, start=write_stamp(start)))
        return Send(self.settings.listento, close, delay_s, key=_cursor_name(feed, start))

    def _closes_at(self, start: int, period: Period) -> float:
        """Return when a period may be closed, as far as is known now."""
        now = self.context.clock()
        # A clock that was set back must not keep a period open until it has caught up.
        period.last_arrival = min(period.last_arrival, now)
        # A feed may live in the future, by a wrong clock: nobody waits for the end of such a period.
        ends_at = start + self.settings.bundle if start < now + self.settings.bundle else 0
        return max(ends_at, period.last_arrival) + self.settings.grace

    def _close(self, feed: str, start: int, *, force: bool) -> Iterator[Outcome]:
        period = self.periods.get((feed, start))
        if period is None:
            return  # closed by an earlier timer
        overdue_s = self.context.clock() - self._closes_at(start, period)
        is_period = start % self.settings.bundle == 0
        if not force and overdue_s < 0 and is_period:
            yield self._timer(feed, start)
            return
        self._write(feed, start)
        self._look_for_records(feed, start, period)
        yield from self._refile(feed, start, period.revision)
        period.has_records = self._folder(feed, start).has_records(period.revision)
        wait_s = PATIENCE * self.settings.grace
        since = self.context.clock() - wait_s
        in_flight = not force and overdue_s < wait_s and self._folder(feed, start).in_flight(since)
        if in_flight:
            # `filter` has laid it down and its message is still to come, or to come again
            yield self._timer(feed, start, self.settings.grace)
            return
        built = self._build(feed, start, period.revision)
        if built is not None:
            yield Send(self.settings.pushto, encode(built.message(self.context.root, self.settings.level)))
            self.context.count("bundles")
            self.context.count("bundled_publications", built.publications)
        del self.periods[feed, start]
        if force:
            yield Send(self.settings.listento, None, key=_cursor_name(feed, start))
        # order: the bundle's message is committed, then its members go
        self._closed[feed, start] = period.revision
        self._cursors[_cursor_name(feed, start)] = f"{CLOSED}{period.revision}"

    def _refile(self, feed: str, start: int, revision: int) -> Iterator[Outcome]:
        """Move what came while bundles had another length to the periods it belongs to now."""
        refiling = Refiling(self.folders, feed, start, self.settings.bundle, revision)
        strays = refiling.find()
        # remembered until they are opened: a move that fails halfway is gone on with
        self._refiled |= {(feed, home) for home in strays.starts}
        refiling.move(strays, {home: self._revision_of(feed, home) for home in strays.starts})
        for period in sorted(self._refiled):
            yield from self._open(*period, None if period in self.periods else self._next_revision(*period))
        self._refiled.clear()

    def _revision_of(self, feed: str, start: int) -> int:
        period = self.periods.get((feed, start))
        return period.revision if period else self._next_revision(feed, start)

    def _build(self, feed: str, start: int, revision: int) -> Revision | None:
        # zstd at its smallest takes the time of xz and is larger
        usual = "xz" if self.settings.level == "small" else "zst"
        name = BundleName(feed, start, self.settings.format or usual)
        settings = self.settings
        return build_revision(self.folders, name, revision, settings.bundle, settings.level, self.context.log)

    def _write(self, feed: str, start: int) -> None:
        records = self._records.get((feed, start))
        if records:
            period = self.periods[feed, start]
            self._look_for_records(feed, start, period)
            self._unsynced |= self._folder(feed, start).append(period.revision, records)
            period.has_records = True
            del self._records[feed, start]

    def _look_for_records(self, feed: str, start: int, period: Period) -> None:
        """Report a folder whose records somebody removed: what became of its ticks is not known any more."""
        if period.has_records and not self._folder(feed, start).has_records(period.revision):
            period.has_records = False
            self.context.report(
                "records_gone",
                f"{self._folder(feed, start).folder} lost the records of its ticks before they were bundled, and maybe "
                "publications with them: somebody removed them",
                "look for who removes files below data/feeds, and put them back from a copy if there is one",
                about=feed,
                level="error",
                lasting=True,
            )

    def _next_revision(self, feed: str, start: int) -> int:
        listed = self._folder(feed, start).last_listed()
        return 1 + max(listed, last_revision(self.folders, feed, start))

    def _folder(self, feed: str, start: int) -> PeriodFolder:
        return PeriodFolder(self.folders.period(feed, start))

    def _find_unknown(self) -> Iterator[tuple[tuple[str, int], int]]:
        """Yield each feed and period whose folder holds something though nobody knows of it, and its revision."""
        for feed, start in self._on_disk():
            revision = self._next_revision(feed, start)
            # bundles by which its revision was counted may be archived and gone
            self._folder(feed, start).take_back(revision)
            yield (feed, start), revision

    def _on_disk(self) -> Iterator[tuple[str, int]]:
        """Yield the feeds and periods that are not open and whose folders hold something."""
        for feed_folder in _folders_in(self.folders.publications):
            for folder in _folders_in(feed_folder):
                with suppress(ValueError):
                    feed, start = parse_feed_name(feed_folder.name), read_stamp(folder.name)
                    if (feed, start) in self.periods:
                        continue  # not looked into: there may be very many
                    publications, ticks = PeriodFolder(folder).bundled(revision=1 << 62)
                    if publications or ticks:
                        yield feed, start


def period_states(cursors: Mapping[str, str]) -> dict[tuple[str, int], tuple[int, bool]]:
    """Return of each feed and period that cursors tell of its revision, and whether it is open.

    One that is not is closed, but what its bundle was made of has still to go.
    """
    states = {}
    for name, text in cursors.items():
        feed, _, stamp = name.rpartition("/")
        if feed and name != REARMED:
            states[feed, read_stamp(stamp)] = int(text.removeprefix(CLOSED)), not text.startswith(CLOSED)
    return states


def _cursor_name(feed: str, start: int) -> str:
    return f"{feed}/{write_stamp(start)}"


def _folders_in(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError):
        return sorted(path for path in folder.iterdir() if path.is_dir())
    return []
