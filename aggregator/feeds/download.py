"""The stage `download`: download every feed at its planned times."""

from __future__ import annotations

from collections.abc import Iterator
from configparser import RawConfigParser
from os.path import realpath
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec

from aggregator import __version__
from aggregator.config.settings import Bounds, Doc, Duration, Integer, ListenQueue, TargetQueue, Text
from aggregator.config.traits import Traits
from aggregator.errors import ConfigError, Retry, Unavailable
from aggregator.feeds.bundle.manifest import Tick
from aggregator.feeds.fetching.conditional import source_of, validators_for, validators_of
from aggregator.feeds.fetching.fetch import Failed, Fetcher, Request
from aggregator.feeds.fetching.partialfile import PartialFile, completed
from aggregator.feeds.fetching.results import tell, tell_answer, tell_failure, tell_found, tell_unread
from aggregator.feeds.fetching.timing import LONGEST_RETRY_AFTER_S, FeedTiming, backoff_ms
from aggregator.feeds.filtering.witness import Witness
from aggregator.feeds.messages.checks import LONGEST_ROW, LONGEST_ROW_MS
from aggregator.feeds.messages.reading import decode
from aggregator.feeds.messages.ticks import Downloaded, DueTick, Validators
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.reading.timestamps import CLOCKLESS
from aggregator.feeds.settings.current import Configured
from aggregator.feeds.settings.table import Feed
from aggregator.files.faults import fault_of_message
from aggregator.http import options
from aggregator.http.connections import Connections
from aggregator.http.deadlines import Stopping
from aggregator.runtime.context import Context
from aggregator.runtime.contract import ConsumerSettings, Cursor, Drop, Emits, Outcome, Send, Settled, Stage
from aggregator.runtime.kinds import encode
from aggregator.runtime.message import Message
from aggregator.runtime.schedule import Due, Schedule, timer_key

MOST_KILLS = 3
"""A tick whose worker vanished this often is not tried again."""
UNREAD_PERIOD_MS = 14_000
"""How often a failed tick is recorded for a feed whose configuration cannot be read."""

_with = msgspec.structs.replace


class Download(Stage):
    """Download every feed at its planned times, and record one outcome for each tick.

    In: of kind `due`: ticks that the stage sends to itself, one for each feed: `feed`, `planned_ms` (Unix
    milliseconds), and the state of the feed (`chain`, `failures`, `wait_until_ms`, `why`, `failing`, `kills`,
    `validators`).
    Out: of kind `downloaded`: for each tick `feed`, `tick` (as in a manifest; outcome ok, not_modified, failed or
    late), `file` (the body, relative to the instance's folder, or ''), `headers`, `final_url`, and the feed's `url`
    (secrets hidden), `period_ms`, `extension`, `timestamp`, `format`, `stale_after_ms`; for ticks missed in a row
    `missed_from_ms` and `missed_to_ms` in place of `tick`.
    Effect: a file below `data/feeds/downloads`, which is durable before its message is sent.
    Errors: a download that fails is an outcome, not an error; a full disk pauses the worker.
    Source: RFC 9110, RFC 9111; docs/feeds.md.
    """

    traits = Traits(feeds_itself=True, alone_from=2, tables=("feed",), names_files=True)
    accepts = (DueTick,)
    emits: ClassVar[Emits] = {"pushto": (Downloaded,)}
    overview = "aggregator.feeds.query.overview:OVERVIEW"

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        """The options of this stage's section."""

        listento: Annotated[ListenQueue, Doc("the queue in which ticks wait for their time")] = "ticks@node"
        pushto: Annotated[TargetQueue, Doc("the queue that downloads go to")]
        concurrency: Annotated[Integer, Doc("downloads at the same time in each process"), Bounds(1, 1000)] = 400
        backoff: Annotated[Duration, Doc("the longest wait between two tries of a feed that keeps failing")] = 300.0
        user_agent: Annotated[Text, Doc("how servers see us; say whom they may write to")] = f"aggregator/{__version__}"
        proxy: options.Proxy | None = None
        ca_file: options.CaFile | None = None

    settings: Settings

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.folders = FeedFolders(context.path("data/feeds"))
        self.fetcher = Fetcher(settings.user_agent, Connections(stopping=lambda: context.stopping))
        self.feeds = Configured(context)
        self.schedule = Schedule(context, "feed")
        self._route = options.route_of(settings, context.root)
        self._witness = Witness(self.folders.newest)
        self._believed: set[str] = set()

    @classmethod
    def belongings(cls, settings: Any, root: Path) -> tuple[str, ...]:
        """Return the folder of the feeds: the cursors of this stage schedule the downloads into it."""
        return (f"download:{realpath(root / 'data/feeds')}",)

    @classmethod
    def check(cls, settings: Settings, config: RawConfigParser) -> Iterator[tuple[str | None, str]]:
        """Refuse a second section of this stage: each would download every feed."""
        sections = [section for section in config.sections() if config[section].get("stage") == "download"]
        if len(sections) > 1:
            yield "stage", f"{' and '.join(sections)} would both download every feed; raise numprocs or concurrency"
        yield from options.faults_of(settings)

    @classmethod
    def check_files(cls, settings: Any, root: Path) -> Iterator[tuple[str, str]]:
        """Check the files for TLS."""
        yield from options.faults_of_files(options.route_of(settings, root))

    def start(self) -> None:
        """Log the feeds whose configuration cannot be read. Raises ConfigError when a file for TLS cannot be used."""
        for option, text in options.faults_of_files(self._route):
            raise ConfigError(f"[{self.context.section}] {option}: {text}")
        for fault in self.feeds.table.faults:
            self.context.log.error("feed_unread fault=%s", fault)

    def seed(self) -> Iterator[Send | Cursor]:
        """Send the first tick of new feeds."""
        timings = {name: FeedTiming(name, feed.period_ms) for name, feed in self.feeds.table.entries.items()}
        for outcome in self.schedule.begin(timings, self._now()):
            if isinstance(outcome, Due):
                if outcome.former:
                    yield Send(self.settings.listento, None, key=timer_key(outcome.name, outcome.former))
                yield self._due(DueTick(feed=outcome.name, planned_ms=outcome.planned_ms, chain=outcome.generation))
            else:
                yield outcome

    def stop(self) -> None:
        """Close the open connections."""
        self.fetcher.connections.close()

    def settle(self, now: float) -> Iterator[Settled]:
        """Store the state of the schedule; files are durable already."""
        return self.schedule.cursors(int(now * 1000))

    def handle(self, message: Message) -> Iterator[Outcome]:
        due = decode(message.raw, *self.accepts)
        feed = self.feeds.feed(due.feed)
        if feed is None:
            yield from self._unknown(due)
        elif not due.once and not self.schedule.is_current(due.feed, due.chain):
            yield Drop("tick_superseded")
        elif message.history and message.history.deliveries:
            with fault_of_message(*self.folders.all()):
                yield from self._come_back(feed, due, message.history.deliveries)
        else:
            if due.failing and due.failing != source_of(feed):
                due = _with(due, failures=0, wait_until_ms=0, why="", failing="")
            if not due.once:
                self.schedule.see(due.feed, self._now())
            for outcome in self._tick(feed, due):
                follows = isinstance(outcome, Send) and outcome.queue == self.settings.listento
                if not (due.once and follows):
                    yield outcome

    def _come_back(self, feed: Feed, due: DueTick, deliveries: int) -> Iterator[Outcome]:
        """Tell of the body that a killed worker completed for this tick; without one, have the tick run again."""
        for path in completed(*self._place(feed, due)):
            told = tell_found(feed, path, self.context.root)
            if told is None:
                path.unlink(missing_ok=True)
                continue
            self.context.count("bodies")
            yield Send(self.settings.pushto, encode(told))
            if not due.once:
                # the validators of this body are lost, and with older ones a 304 would call an older body valid
                again = _with(due, failures=0, wait_until_ms=0, why="", failing="", kills=0, validators=None)
                yield self._next(feed, again)
            return
        # Send the tick as a new message, so that it runs beside the others. The messages that a killed worker held are
        # handed out one by one, so one slow server would delay all feeds.
        yield self._due(_with(due, kills=due.kills + deliveries))

    def _unknown(self, due: DueTick) -> Iterator[Outcome]:
        """End the schedule of a removed feed; continue it while some feeds of the configuration cannot be read."""
        faults = self.feeds.table.faults
        if not faults:
            self.schedule.end(due.feed)
            yield Drop("feed_removed")
            return
        self.schedule.see(due.feed, self._now())
        yield Send(self.settings.pushto, encode(tell_unread(due, UNREAD_PERIOD_MS, faults[0])))
        planned_ms = FeedTiming(due.feed, UNREAD_PERIOD_MS).next_after(max(due.planned_ms, self._now()))
        yield self._due(_with(due, planned_ms=planned_ms))

    def _tick(self, feed: Feed, due: DueTick) -> Iterator[Outcome]:
        now_ms = self._now()
        late_ms = now_ms - due.planned_ms
        if late_ms >= feed.period_ms and not due.once:
            yield self._give_up(
                feed, Tick(planned_ms=due.planned_ms, outcome="late", error=f"{late_ms / 1000:.1f} s late")
            )
            yield from self._missed(feed, due, now_ms)
        elif due.kills >= MOST_KILLS:
            error = f"its worker vanished {due.kills} times"
            yield self._give_up(feed, Tick(planned_ms=due.planned_ms, outcome="failed", error=error))
            yield self._next(feed, _with(due, kills=0))
        elif due.wait_until_ms > due.planned_ms:
            yield self._give_up(feed, Tick(planned_ms=due.planned_ms, outcome="failed", error=f"not tried: {due.why}"))
            yield self._next(feed, _with(due, kills=0))
        else:
            yield from self._download(feed, due)

    def _give_up(self, feed: Feed, tick: Tick) -> Send:
        self.context.count(tick.outcome)
        return Send(self.settings.pushto, encode(tell(feed, tick=tick)))

    def _missed(self, feed: Feed, due: DueTick, now_ms: int) -> Iterator[Outcome]:
        """Record the ticks whose time has passed as missed, and continue with the tick of the current period."""
        timing = FeedTiming(feed.name, feed.period_ms)
        first, current = timing.next_after(due.planned_ms), timing.last_until(now_ms)
        longest = min(LONGEST_ROW, LONGEST_ROW_MS // feed.period_ms) * feed.period_ms
        while first < current:
            last = min(current, first + longest) - feed.period_ms
            yield Send(self.settings.pushto, encode(tell(feed, missed_from_ms=first, missed_to_ms=last)))
            first = last + feed.period_ms
        yield self._due(_with(due, planned_ms=current, kills=0))

    def _download(self, feed: Feed, due: DueTick) -> Iterator[Outcome]:
        folder, stem = self._place(feed, due)
        known = self._proved(feed, validators_for(feed, due))
        etag, modified = (known.etag, known.modified) if known else ("", "")
        request = Request(
            feed.url, feed.headers, feed.timeout_s, feed.max_size, feed.allow_private, etag=etag, modified=modified,
            keep_gzip=feed.extension.lower().endswith("gz"), method=feed.method, body=feed.body,
            route=feed.route.over(self._route), secrets=feed.secrets,
        )  # fmt: skip
        started_ms = self._now()
        with PartialFile(folder, stem) as partial:
            try:
                answer = self.fetcher.fetch(request, partial.write)
                file = ""
                if answer.status != 304:
                    # the hash separates the bodies of two processes that take each other for dead
                    noted = answer.headers if "http" in feed.timestamp else None
                    kept = partial.keep(f"{stem}-{answer.sha256[:8]}.{feed.extension}", noted)
                    file = str(kept.relative_to(self.context.root))
            except Stopping as error:
                raise Unavailable("asked to stop: the tick goes back") from error
            except Failed as error:
                yield from self._failed(feed, due, started_ms, error)
                return
            except Retry as error:  # something else has the name of the feed's file: a fault of this feed alone
                yield from self._failed(feed, due, started_ms, Failed(str(error)))
                return
        self.context.count("bodies" if file else "not_modified")
        told = tell_answer(feed, due, (started_ms, self._now()), answer, file)
        yield Send(self.settings.pushto, encode(told))
        known = validators_of(feed, answer) if file else known
        yield self._next(feed, _with(due, failures=0, wait_until_ms=0, why="", failing="", kills=0, validators=known))

    def _proved(self, feed: Feed, known: Validators | None) -> Validators | None:
        """Return validators unless the disk knows a newer body than theirs, as when Redis was restored from a copy.

        With outdated validators, a 304 would mean that an older body is valid again. For a feed without a clock that
        change would go unnoticed.
        """
        if known is None or feed.name in self._believed or feed.timestamp not in CLOCKLESS:
            return known
        self._believed.add(feed.name)
        newest = self._witness.read(feed.name)
        return known if newest is None or newest.sha == known.sha else None

    def _failed(self, feed: Feed, due: DueTick, started_ms: int, error: Failed) -> Iterator[Outcome]:
        now_ms = self._now()
        self.context.count("failed")
        yield Send(self.settings.pushto, encode(tell_failure(feed, due, (started_ms, now_ms), error)))
        failures = due.failures + 1
        wait_ms = backoff_ms(failures, feed.period_ms, int(self.settings.backoff * 1000))
        why = f"{failures} failures in a row, the last: {error}"
        asked_ms = int(min(error.retry_after_s or 0.0, LONGEST_RETRY_AFTER_S) * 1000)
        if asked_ms > wait_ms:
            wait_ms = asked_ms
            why = f"the server asked for {error.retry_after_s:.0f} s of rest: {error}"
        until_ms = now_ms + wait_ms if wait_ms else 0
        failed = _with(due, failures=failures, wait_until_ms=until_ms, why=why[:300], failing=source_of(feed), kills=0)
        yield self._next(feed, failed)

    def _place(self, feed: Feed, due: DueTick) -> tuple[Path, str]:
        """Return the folder of a tick's body, and the beginning of the names of all the tick's files."""
        path = self.folders.download(feed.name, due.planned_ms, feed.extension)
        return path.parent, path.name.removesuffix(f".{feed.extension}")

    def _next(self, feed: Feed, due: DueTick) -> Send:
        """Return the feed's next tick."""
        return self._due(_with(due, planned_ms=FeedTiming(feed.name, feed.period_ms).next_after(due.planned_ms)))

    def _due(self, due: DueTick) -> Send:
        """Return the timer of a tick; a tick outside the plan has a timer of its own."""
        delay_s = max(due.planned_ms - self._now(), 0) / 1000
        key = f"{due.feed}/once" if due.once else timer_key(due.feed, due.chain)
        return Send(self.settings.listento, encode(due), delay_s, key)

    def _now(self) -> int:
        return int(self.context.clock() * 1000)
