"""The stage `filter`: tell publications from repetitions and corrupt bodies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from configparser import RawConfigParser
from contextlib import contextmanager, suppress
from os.path import realpath
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec

from aggregator.config.settings import Bounds, Doc, Duration, Size, TargetQueue
from aggregator.config.traits import Traits
from aggregator.errors import Reject, Retry
from aggregator.feeds.bundle.manifest import COVERED, Tick
from aggregator.feeds.filtering.downloads import Downloads
from aggregator.feeds.filtering.filing import Filing
from aggregator.feeds.filtering.judge import Judge
from aggregator.feeds.filtering.rejects import Rejects
from aggregator.feeds.filtering.state import CURSOR, FeedState, Known, decode_state, encode_state
from aggregator.feeds.filtering.untold import Untold
from aggregator.feeds.filtering.witness import Newest, Witness
from aggregator.feeds.messages.reading import decode
from aggregator.feeds.messages.ticks import Downloaded, Filtered, Missed
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.stamps import BundlePeriod, parse_bundle_period
from aggregator.feeds.reading.timestamps import CLOCKLESS
from aggregator.feeds.settings.descriptions import About, Descriptions
from aggregator.files.faults import fault_of_message, stage_wide
from aggregator.runtime.context import Context
from aggregator.runtime.contract import ConsumerSettings, Cursor, Drop, Emits, Outcome, Send, Settled, Stage
from aggregator.runtime.kinds import encode
from aggregator.runtime.message import Message

_with = msgspec.structs.replace


class Filter(Stage):
    """Name each publication by its timestamp, drop repetitions, and set corrupt bodies aside.

    In: of kind `downloaded`: for each tick the message of `download`.
    Out: of kind `filtered`: `feed`, `tick` (as in a manifest, with its final outcome), `publication` (the file's name
    or ''), `published_ms` (Unix milliseconds or null), `url`, `period_ms`, `node`, `instance`; of kind `missed`, for
    ticks missed in a row: `missed_from_ms` and `missed_to_ms` in place of `tick`, `publication` and `published_ms`.
    Effect: the body moves below `data/feeds/publications`, or with a report below `data/feeds/rejected`, or is deleted
    when the feed published the same before. Until the decision is committed, the body can be found in its old place.
    The feed's configuration says how a body is read, how its file is named and when the feed is stale. For a feed that
    is no longer configured, the message's description is used, unless it names a plugin. The message's description is
    also tried for a body that cannot be read, as the feed's configuration may have changed since the download.
    Errors: a timestamp plugin that cannot be imported is tried again, then the message goes to the dead letters; a full
    disk pauses the worker.
    Source: docs/feeds.md.
    """

    traits = Traits(exclusive=True, tables=("feed",), names_files=True)
    accepts = (Downloaded,)
    emits: ClassVar[Emits] = {"pushto": (Filtered, Missed)}

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        """The options of this stage's section."""

        pushto: Annotated[TargetQueue, Doc("the queue that ticks and publications go to")]
        bundle: Annotated[BundlePeriod, Doc("how much time one bundle covers; `compress` must say the same")] = 3600
        rejected_age: Annotated[Duration, Doc("how long rejected bodies are kept"), Bounds(0)] = 30 * 86400.0
        rejected_size: Annotated[Size, Doc("how much of them is kept, of each feed")] = 50 * 1024**2

    settings: Settings

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.folders = FeedFolders(context.path("data/feeds"))
        self.rejects = Rejects(self.folders, settings.rejected_age, settings.rejected_size)
        self.bodies = Downloads(self.folders)
        self._states: dict[str, FeedState] = {}
        self._changed: set[str] = set()
        self.filing = Filing(self.folders, self.bodies, settings.bundle)
        self._descriptions = Descriptions(context)
        self._judge = Judge(context, self.folders, self.bodies, self.filing, self.rejects, self._descriptions)
        self._untold = Untold(context, self.folders, self._descriptions.configured)
        self._witness = Witness(self.folders.newest)
        self._frozen: set[str] = set()

    def start(self) -> None:
        """Load the state of all feeds, and delete bodies whose decisions are committed."""
        for name, text in self.context.cursors.items():
            if name.startswith(CURSOR):
                self._states[name.removeprefix(CURSOR)] = decode_state(text)
        self._untold.found.load(self.context.cursors)
        with stage_wide():
            self.bodies.clean({feed: state.planned_ms for feed, state in self._states.items()})

    def idle(self, now: float) -> Iterator[Send | Cursor]:
        """Queue messages for bodies that have none, as their messages were lost with Redis."""
        if not self._untold.found.is_due(now):
            return
        with stage_wide():
            for outcome in self._untold.look(now):
                yield outcome if isinstance(outcome, Cursor) else Send(self.settings.listento, encode(outcome))

    def settle(self, now: float) -> Iterator[Settled]:
        """Make the new names durable, and store the changed states of feeds."""
        with stage_wide():
            self.filing.sync()
            self.rejects.sweep(now)
        changed, self._changed = self._changed, set()
        for feed in changed:
            yield Cursor(f"{CURSOR}{feed}", encode_state(self._states[feed]))

    def committed(self) -> None:
        """Delete the bodies whose decisions are committed."""
        with stage_wide():
            self.bodies.clear()

    def handle(self, message: Message) -> Iterator[Outcome]:
        told = decode(message.raw, *self.accepts)
        if told.tick is None:
            yield Send(self.settings.pushto, encode(_missed(told, self.context)))
            return
        about = self._descriptions.about(told)
        state = self._states.get(told.feed, FeedState())
        with fault_of_message(*self.folders.all()), self.bodies.attempt(), self._attempt(told.feed, state):
            if self._was_told(told, told.tick, state):
                yield Drop("told_before")
                return
            if not state.planned_ms and about.timestamp in CLOCKLESS:
                yield from self._take_older(told.feed, told.tick.planned_ms)
                state = self._states.get(told.feed, state)
            is_late = (told.found or message.history is not None) and told.tick.planned_ms < state.planned_ms
            yield self._handle(told, about, told.tick, state, is_late=is_late)

    def _was_told(self, told: Downloaded, tick: Tick, state: FeedState) -> bool:
        """True for the second of two messages about one body: one from `download`, one made when the body was found."""
        if not told.file or self.bodies.find(self._judge.source(told)):
            return False
        return tick.planned_ms in state.found or (told.found and self.filing.find(told.feed, tick) is None)

    @contextmanager
    def _attempt(self, feed: str, known: FeedState) -> Iterator[None]:
        """Give a feed its state back when the handling of a message fails, which may have taken older bodies before."""
        try:
            yield
        except BaseException:
            if feed in self._states:
                self._states[feed] = known
                self._witness.doubt(feed)
            raise

    def _take_older(self, feed: str, planned_ms: int) -> Iterator[Send]:
        """Decide on the bodies that wait since before the first tick of a feed without a state: Redis was lost.

        A feed without a clock needs them in their order: a repetition after one of them must not count as new. What
        fails is left to the message that `idle` makes for it, which fails alone.
        """
        for found in self._untold.before(feed, planned_ms):
            assert found.tick
            with suppress(Retry, Reject), fault_of_message(*self.folders.all()), self.bodies.attempt():
                state = self._states.get(feed, FeedState())
                yield self._handle(found, self._descriptions.about(found), found.tick, state, is_late=False)

    def _handle(self, told: Downloaded, about: About, tick: Tick, known: FeedState, *, is_late: bool) -> Send:
        """Decide on a tick. A late tick, which comes after younger ones, does not change the feed's state."""
        # a copy, so that a message that fails halfway changes nothing
        state = msgspec.structs.replace(known)
        is_clockless = about.timestamp in CLOCKLESS
        if is_clockless and is_late:
            state.recent = ()
        elif is_clockless and (newest := self._witness.missed_by(told.feed, tick.planned_ms, state)) is not None:
            state.recent = self._believed(told.feed, newest, state)
        outcome = tick.outcome
        tick, publication = self._judge.decide(told, about, tick, state)
        if outcome == "ok":
            state.refused = tick.error if tick.outcome == "invalid" else ""
        tick = self._note(told.feed, about, tick, state)
        self.context.count(tick.outcome)
        if is_late:
            state = msgspec.structs.replace(known)
        elif is_clockless:
            self._witness.believe(told.feed, tick.planned_ms)
            if publication:
                self._witness.note(told.feed, tick.planned_ms, state.recent[-1])
        if told.found:
            state.find(tick.planned_ms)
        self._states[told.feed] = state
        self._changed.add(told.feed)
        filtered = Filtered(
            feed=told.feed,
            tick=tick,
            publication=publication,
            published_ms=tick.header_ms if publication else None,
            url=about.url,
            period_ms=told.period_ms,
            node=self.context.node,
            instance=self.context.instance_id,
        )
        return Send(self.settings.pushto, encode(filtered))

    def _believed(self, feed: str, newest: Newest, state: FeedState) -> tuple[Known, ...]:
        """Return the last publication of a feed whose state lacks what is the newest on this disk; none when in doubt.

        The disk is believed when it knows of a tick that the state has not seen, or has seen without its publication.
        """
        if newest.planned_ms >= state.planned_ms:
            return (Known(newest.sha, newest.published_ms, newest.sha),)
        self.context.report(
            "memory_older",
            f"what Redis remembers of {feed} lacks its newest publication on this disk: the next body counts as new, "
            "whether or not it was archived before",
            "nothing, when Redis was restored from an older copy or a section got back an old name; else look for why",
            about=feed,
            lasting=True,
        )
        return ()

    def _note(self, feed: str, about: About, tick: Tick, state: FeedState) -> Tick:
        """Update the shown state of a feed, and flag its tick when the contents have not changed for too long."""
        state.outcome, state.error, state.planned_ms = tick.outcome, tick.error, tick.planned_ms
        if tick.outcome in COVERED:
            state.answered_ms = tick.ended_ms or tick.planned_ms
            if state.is_frozen(tick.fetched_ms, about.stale_after_ms):
                tick = _with(tick, flags=(*tick.flags, "frozen"))
        frozen = self._frozen | {feed} if "frozen" in tick.flags else self._frozen - {feed}
        if frozen != self._frozen:
            self._frozen = frozen
            self.context.note("frozen", ", ".join(sorted(frozen)))
        return tick

    @classmethod
    def belongings(cls, settings: Any, root: Path) -> tuple[str, ...]:
        """Return the folder of the feeds: the cursors of this stage are about them."""
        return (f"filter:{realpath(root / 'data/feeds')}",)

    @classmethod
    def check(cls, settings: Settings, config: RawConfigParser) -> Iterator[tuple[str | None, str]]:
        """Refuse another bundle length than that of the `compress` section that reads `pushto`."""
        for section in config.sections():
            options: Mapping[str, Any] = config[section]
            if options.get("stage") == "compress" and options.get("listento", "").strip() == settings.pushto:
                try:
                    theirs = parse_bundle_period(options.get("bundle", "1h"))
                except ValueError:
                    continue
                if theirs != settings.bundle:
                    yield "bundle", f"[{section}] says {options.get('bundle', '1h')}; both must say the same"


def _missed(told: Downloaded, context: Context) -> Missed:
    return Missed(
        feed=told.feed,
        missed_from_ms=told.missed_from_ms or 0,
        missed_to_ms=told.missed_to_ms or 0,
        url=told.url,
        period_ms=told.period_ms,
        node=context.node,
        instance=context.instance_id,
    )
