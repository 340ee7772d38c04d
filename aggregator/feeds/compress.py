"""The stage `compress`: pack the publications and ticks of each feed and period into one bundle."""

from __future__ import annotations

from collections.abc import Iterator
from os.path import realpath
from pathlib import Path
from typing import Annotated, Any, ClassVar

from aggregator.config.settings import Bounds, Doc, Duration, TargetQueue, choice
from aggregator.config.traits import Traits
from aggregator.errors import Reject
from aggregator.feeds.bundle.compression import Level
from aggregator.feeds.bundle.openperiods import Record
from aggregator.feeds.bundle.periodbook import Key, PeriodBook
from aggregator.feeds.bundle.records import records_of
from aggregator.feeds.bundle.refiling import Refiling
from aggregator.feeds.bundle.revisions import Revision, build_revision
from aggregator.feeds.messages.bundles import Bundle, Clear, Close
from aggregator.feeds.messages.reading import decode
from aggregator.feeds.messages.ticks import Filtered, Missed
from aggregator.feeds.naming.bundles import FORMATS, BundleName
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.stamps import BundlePeriod, read_stamp, write_stamp
from aggregator.files.durable import sync_folders
from aggregator.files.faults import fault_of_message, stage_wide
from aggregator.runtime.context import Context
from aggregator.runtime.contract import ConsumerSettings, Cursor, Emits, Outcome, Send, Settled, Stage
from aggregator.runtime.kinds import encode
from aggregator.runtime.message import Message

REARMED = "/rearmed"
"""The cursor with the hour in which overdue periods last got new timers at a start."""
SET_BACK_S = 60.0
"""How far the clock may go back before timers are set anew."""
LOOK_EVERY_S = 60.0
PATIENCE = 10
"""How many times `grace` a period waits for the messages of publications that are already in its folder."""


class Compress(Stage):
    """Bundle the publications and the outcomes of all ticks, one bundle for each feed and period.

    In: of kind `filtered`: `feed`, `tick` (as in a manifest), `publication` (the file's name or ''), `published_ms`
    (Unix milliseconds or null), `url`, `period_ms` (of the feed), `node`, `instance`. Of kind `missed`: `feed`,
    `missed_from_ms`, `missed_to_ms`, `url`, `period_ms`, `node`, `instance`. To itself, as a timer: `close`, with
    `feed` and `start`.
    Out: of kind `bundle`: `feed`, `start` (yyyy-mm-ddThhmmssZ), `revision`, `file` (relative to the instance's folder),
    `sha256`, `size` (bytes), `contents_id`, `level`.
    Effect: a bundle is written below `data/feeds/bundles`; the publications in it are deleted once its message is
    committed. A period closes `grace` after its end and after its last arrival, whichever is later. Later arrivals make
    another bundle, the next revision.
    Errors: a message of another form goes to the dead letters; a full or read-only disk pauses the worker.
    Source: docs/feeds.md.
    """

    traits = Traits(exclusive=True, names_files=True)
    accepts = (Filtered, Missed, Close, Clear)
    emits: ClassVar[Emits] = {"pushto": (Bundle,)}

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        """The options of this stage's section."""

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
        self.book = PeriodBook(self.folders, settings.bundle, settings.grace, context)
        self._unknown: dict[Key, int] = {}
        self._records: dict[Key, list[Record]] = {}
        self._refiled: set[Key] = set()
        self._unsynced: set[Path] = set()
        self._now = self._looked_at = context.clock()

    @classmethod
    def belongings(cls, settings: Any, root: Path) -> tuple[str, ...]:
        """Return the folder of the feeds: the cursors of this stage are about the open periods in it."""
        return (f"compress:{realpath(root / 'data/feeds')}",)

    def start(self) -> None:
        """Learn which periods are open, and delete half-written bundles of a killed process."""
        with stage_wide():
            for part in self.folders.bundles.rglob(".*.part"):
                part.unlink(missing_ok=True)
            self.book.load()
            self._unknown = dict(self.book.find_unknown())
        self._looked_at = self.context.clock()

    def seed(self) -> Iterator[Send | Cursor]:
        """Open periods that only the disk knows of, and set new timers for periods that are long overdue."""
        now = self.context.clock()
        for key, revision in self._unknown.items():
            self.book.begin(key, revision)
            yield self._timer(key)
        hour = str(int(now // 3600))
        if self.context.cursors.get(REARMED) != hour:
            # A timer's message may have been dropped from the dead letters. Look for that once an hour at most.
            yield Cursor(REARMED, hour)
            for key in self.book.open:
                if now > key.start + self.settings.bundle + (PATIENCE + 1) * self.settings.grace:
                    yield self._timer(key)
        yield from self.book.take_cursors()

    def idle(self, now: float) -> Iterator[Settled]:
        """Once a minute, open periods that only the disk knows of, and replace lost timers."""
        if abs(now - self._looked_at) >= LOOK_EVERY_S:
            self._looked_at = now
            with stage_wide():
                unknown = dict(self.book.find_unknown())
            for key, revision in unknown.items():
                self.context.log.warning("period_found feed=%s start=%s: nothing told of it", *_shown(key))
                self.context.count("found")
                self.book.begin(key, revision)
                yield self._timer(key)
            for key in self.book.without_timer(now):
                self.context.log.warning("timer_lost feed=%s start=%s: set again", *_shown(key))
                yield self._timer(key)
        yield from self.book.take_cursors()

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Record a tick, or close a period."""
        told = decode(message.raw, *self.accepts)
        with fault_of_message(*self.folders.all()):
            if isinstance(told, Close):
                yield from self._close(Key(told.feed, read_stamp(told.start)), force=told.force)
            elif isinstance(told, Clear):  # sent by an older version, which cleared periods by messages
                self.book.folder(Key(told.feed, read_stamp(told.start))).clear(told.revision)
            elif isinstance(told, Filtered | Missed):
                yield from self._take(told)
        yield from self._watch_clock()

    def _watch_clock(self) -> Iterator[Outcome]:
        """Set new timers when the clock was set back, as the old ones would wait until the clock has caught up."""
        before, self._now = self._now, self.context.clock()
        if self._now < before - SET_BACK_S:
            for key in self.book.open:
                yield self._timer(key)

    def settle(self, now: float) -> Iterator[Settled]:
        """Make the records of the handled ticks durable."""
        with stage_wide():
            for key in list(self._records):
                self._write(key)
            sync_folders(self._unsynced)
            self._unsynced.clear()
        yield from self.book.take_cursors()

    def committed(self) -> None:
        """Delete the source files of bundles, now that the messages of these are committed."""
        with stage_wide():
            self.book.clear()

    def _take(self, arrival: Filtered | Missed) -> Iterator[Outcome]:
        """Keep the records of a message, and open the periods that they belong to."""
        rows = [(Key(arrival.feed, start), record) for start, record in records_of(arrival, self.settings.bundle)]
        keys = dict.fromkeys(key for key, _ in rows)
        # order: first everything that may fail, then the changes of memory
        try:
            revisions = {key: self.book.next_revision(key) for key in keys if key not in self.book.open}
        except ValueError as error:
            raise Reject(str(error)) from error
        for key, record in rows:
            self._records.setdefault(key, []).append(record)
        for key in keys:
            yield from self._open(key, revisions.get(key))

    def _open(self, key: Key, revision: int | None) -> Iterator[Outcome]:
        """Open a period as the given revision; with None, note another arrival in an open period."""
        if revision is None:
            self.book.open[key].last_arrival = self.context.clock()
            return
        self.book.begin(key, revision)
        yield self._timer(key)

    def _timer(self, key: Key, least_s: float = 0.0) -> Send:
        close = encode(Close(feed=key.feed, start=write_stamp(key.start)))
        return Send(self.settings.listento, close, self.book.delay_s(key, least_s), key.name)

    def _close(self, key: Key, *, force: bool) -> Iterator[Outcome]:
        period = self.book.open.get(key)
        if period is None:
            return  # closed by an earlier timer
        overdue_s = self.context.clock() - self.book.closes_at(key)
        is_period = key.start % self.settings.bundle == 0
        if not force and overdue_s < 0 and is_period:
            yield self._timer(key)
            return
        self._write(key)
        self._look_for_records(key)
        yield from self._refile(key, period.revision)
        period.has_records = self.book.folder(key).has_records(period.revision)
        wait_s = PATIENCE * self.settings.grace
        since = self.context.clock() - wait_s
        if not force and overdue_s < wait_s and self.book.folder(key).in_flight(since):
            # `filter` has filed a publication whose message is still to come, or to come again
            yield self._timer(key, self.settings.grace)
            return
        built = self._build(key, period.revision)
        if built is not None:
            yield Send(self.settings.pushto, encode(built.message(self.context.root, self.settings.level)))
            self.context.count("bundles")
            self.context.count("bundled_publications", built.publications)
        if force:
            yield Send(self.settings.listento, None, key=key.name)
        self.book.close(key)

    def _refile(self, key: Key, revision: int) -> Iterator[Outcome]:
        """Move files and records that came while bundles had another length to the periods they belong to now."""
        refiling = Refiling(self.folders, *key, self.settings.bundle, revision)
        strays = refiling.find()
        homes = {Key(key.feed, start) for start in strays.starts}
        # remember the periods until they are opened, as a move that fails halfway is continued later
        self._refiled |= homes
        refiling.move(strays, {home.start: self.book.revision_of(home) for home in homes})
        for home in sorted(self._refiled):
            yield from self._open(home, None if home in self.book.open else self.book.next_revision(home))
        self._refiled.clear()

    def _build(self, key: Key, revision: int) -> Revision | None:
        # at its highest level zstd takes as long as xz, and its result is larger
        usual = "xz" if self.settings.level == "small" else "zst"
        name = BundleName(*key, self.settings.format or usual)
        settings = self.settings
        return build_revision(self.folders, name, revision, settings.bundle, settings.level, self.context.log)

    def _write(self, key: Key) -> None:
        records = self._records.get(key)
        if records:
            period = self.book.open[key]
            self._look_for_records(key)
            self._unsynced |= self.book.folder(key).append(period.revision, records)
            period.has_records = True
            del self._records[key]

    def _look_for_records(self, key: Key) -> None:
        """Report a folder whose records somebody removed: the outcomes of its ticks are lost."""
        period, folder = self.book.open[key], self.book.folder(key)
        if period.has_records and not folder.has_records(period.revision):
            period.has_records = False
            self.context.report(
                "records_gone",
                f"{folder.folder} lost the records of its ticks before they were bundled, and maybe "
                "publications with them: somebody removed them",
                "look for who removes files below data/feeds, and put them back from a copy if there is one",
                about=key.feed,
                level="error",
                lasting=True,
            )


def _shown(key: Key) -> tuple[str, str]:
    return key.feed, write_stamp(key.start)
