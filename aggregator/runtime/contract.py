"""What a stage is: one class, its settings, a few methods.

The worker owns Redis, acknowledgement, retries, signals and logs. A stage is told what it needs in its `Context`,
handles one message at a time and says what comes of it; nothing takes effect in Redis before the worker commits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from configparser import RawConfigParser
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, TypeAlias

import msgspec

from aggregator.config.settings import DEFAULT_MAXDEPTH, Bounds, Doc, Duration, Integer, ListenQueue, Settings
from aggregator.config.traits import Traits
from aggregator.runtime.context import Context
from aggregator.runtime.message import History, Message


class StageSettings(Settings, frozen=True, kw_only=True):
    """The options that every stage has."""

    # from file to file 250 are half again as fast as 100, and 1,000 little faster; what a crash returns goes singly
    batch: Annotated[Integer, Doc("the most messages taken and committed in one step"), Bounds(1, 5000)] = 250


class ConsumerSettings(StageSettings, frozen=True, kw_only=True):
    """The options of every stage that reads a queue."""

    listento: Annotated[ListenQueue, Doc("the queue this section takes its messages from")]
    maxdepth: Annotated[
        Integer, Doc("when this many messages wait for this section, those who feed it hold back"), Bounds(1)
    ] = DEFAULT_MAXDEPTH
    maxtries: Annotated[Integer, Doc("a message that failed this often is set aside"), Bounds(1)] = 10
    maxdeliveries: Annotated[
        Integer, Doc("a message whose worker vanished this often while holding it is set aside"), Bounds(1)
    ] = 5
    retrydelay: Annotated[Duration, Doc("the wait before the second try; it doubles with each try"), Bounds(0.01)] = 1.0
    retrymax: Annotated[Duration, Doc("the longest wait between two tries"), Bounds(0.01)] = 3600.0


class SourceSettings(StageSettings, frozen=True, kw_only=True):
    """The options of every stage that brings messages in from outside."""

    idletime: Annotated[Duration, Doc("how often to look for something new when there was nothing"), Bounds(0.01)] = 0.5
    stale_after: Annotated[
        Duration, Doc("`aggregator health` complains when nothing came for this long; 0 = never"), Bounds(0)
    ] = 0.0


class Lease(NamedTuple):
    """Something that one worker has to itself for some time, by `Context.leases`."""

    pool: str
    name: str
    token: str
    """Greater than every token that was given out before for this name."""


class Send(msgspec.Struct, gc=False):
    """Push `body` to a queue: a mapping, or JSON text as bytes that goes on as it is.

    With a `key` it is a timer: it becomes a message of the queue in `delay_s` seconds, in place of what waits under
    this key; a body of None cancels what waits. Timers count in no bound, while a message with a delay alone counts as
    waiting. A timer that has become a message already is not taken back.
    """

    queue: str
    body: Mapping[str, Any] | bytes | None
    delay_s: float = 0.0
    key: str = ""


class Drop(msgspec.Struct, gc=False):
    """Let the message go, on purpose; `reason` is a short constant word for the books."""

    reason: str


class Remember(msgspec.Struct, gc=False):
    """Keep a text under a name until `ttl_s` seconds are over (None: for good); None or '' as text forgets it."""

    name: str
    value: str | None
    ttl_s: float | None = None


class Cursor(msgspec.Struct, gc=False):
    """Store a position in the same atomic step as what was sent before it; None forgets it.

    It belongs to the section on this node. A source's may belong to a lease instead, and so to whoever holds that: the
    whole step takes effect only while this worker holds the lease.
    """

    name: str
    value: str | None
    lease: Lease | None = None


class Flush(msgspec.Struct, gc=False):
    """Commit now what a source has brought so far."""


Outcome: TypeAlias = Send | Drop | Remember
Settled: TypeAlias = Send | Cursor | Remember
SourceOutcome: TypeAlias = Send | Drop | Cursor | Flush


class Former(NamedTuple):
    """Another section of the instance that has cursors: what the cursors of ours may be found among."""

    cursors: Mapping[str, str]
    belongings: Collection[str]
    """What it worked on when it ran last."""
    keeps: Collection[str] | None
    """What it works on as it is built now; None for a section, or the name of a node, that is gone."""
    renamed: bool
    """True for the section itself, under another name of the node."""


SAME = "same"
"""What a stage emits that sends on what it reads as it came."""
Emits: TypeAlias = Mapping[str, tuple[type[msgspec.Struct], ...] | str]


class _Component:
    """What stages and sources share."""

    Settings: ClassVar[type[StageSettings]]
    traits: ClassVar[Traits] = Traits()
    overview: ClassVar[str] = ""
    """A `monitor.overviews.Overview` of what the stage works on, as ``module:OBJECT`` of an installed package."""
    emits: ClassVar[Emits] = {}
    """The structs of the messages that go to the queues an option names, or `SAME`. `config check` refuses a pipeline
    whose consumer does not accept them; of an option that is not named here nothing is known."""

    def __init__(self, settings: Any, context: Context) -> None:
        self.settings = settings
        self.context = context

    @classmethod
    def check(cls, settings: Any, config: RawConfigParser) -> Iterator[tuple[str | None, str]]:
        """Yield (option, fault) for what only shows when options are read together; must not touch the network."""
        return iter(())

    @classmethod
    def belongings(cls, settings: Any, root: Path) -> tuple[str, ...]:
        """Return what the cursors of a section with these settings are about: real paths of files, for example.

        A section that is new, or was renamed, takes over the cursors of a section that is gone and shares one of these.
        Each begins with a word of its kind and a colon; only sections of one kind look at each other's cursors.
        """
        return ()

    @classmethod
    def take_over(cls, settings: Any, root: Path, former: Former, own: Mapping[str, str]) -> Collection[str]:
        """Return which cursors of another section are this one's now; `own` are those that it has already."""
        ours = former.renamed or not set(cls.belongings(settings, root)).isdisjoint(former.belongings)
        return tuple(former.cursors) if former.keeps is None and ours and not own else ()

    @classmethod
    def plugin_options(cls, settings: Mapping[str, str]) -> Mapping[str, str]:
        """Return further options a section may have, name → documentation, given its texts (a plugin's own)."""
        return {}

    def start(self) -> None:
        """Open what the stage needs. Called once, before the first message; raise Unavailable to be called again."""

    def committed(self) -> None:
        """Do what may only happen once the last commit took effect: remove inputs, announce files.

        Called after each commit of messages, of `idle` or of a source, before anything else is handled in the worker's
        main thread; with `concurrency`, other threads handle messages meanwhile. A process that is killed may not come
        to it, so what is done here must be found and done at the next start, or do no harm when it is never done. Raise
        Unavailable to have the worker pause, and be called again; any other exception means the same, and is logged.
        """

    def stop(self) -> None:
        """Close it. Called once, after the last commit; not called when the process is killed or was superseded."""


class Stage(_Component):
    """Handle messages of one queue."""

    Settings: ClassVar[type[ConsumerSettings]] = ConsumerSettings
    accepts: ClassVar[tuple[type[msgspec.Struct], ...]] = ()
    """The structs of the messages it takes; none = any JSON object."""

    def seed(self) -> Iterator[Send | Cursor]:
        """Yield the messages that must be under way before the first is handled.

        Called once, after `start`. Committed in one step with the cursors, each of which must still have the value it
        had in `context.cursors`: of several processes that start together one seeds, and the others are called again.
        Raise Unavailable to be called again later.
        """
        return iter(())

    def needs(self, message: Message) -> Iterable[str]:
        """Return the names of what `handle` will recall or remember; those of a whole batch are read at once.

        A message that cannot be read needs nothing: whatever this raises, `handle` is called and raises it again.
        """
        return ()

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Yield what comes of a message: any number of `Send` and `Remember`, or one `Drop`, or nothing.

        Raise Reject, Retry or Unavailable to say otherwise; any other exception means a retry with backoff. A stage
        with an option `concurrency` is called from that many threads.
        """
        raise NotImplementedError

    def settle(self, now: float) -> Iterator[Settled]:
        """Make the effects of the messages handled since the last call durable; yield what is committed with them.

        Called before every commit that has messages; `now` in Unix seconds. Raise Unavailable (a full disk) to be
        called again after a pause; until it returns nothing is committed. When another worker changed what was
        recalled, the commit has no effect and the process starts anew: `start` takes back what is not committed.
        """
        return iter(())

    def died(self, message: Message, history: History) -> Iterator[Send | Remember]:
        """Yield what is committed together with a dead letter, so that whoever waits for the message learns of it.

        Called for a message that failed for good, and for one whose workers vanished too often.
        """
        return iter(())

    def idle(self, now: float) -> Iterator[Settled]:
        """Yield what is due without a message: files to rotate, work that is found on the disk; `now` in Unix seconds.

        Called again and again while there is nothing to take, nothing in hand, and no target is full; what is yielded
        takes effect in one step. A stage that looks at the disk for it says itself how often. Raise Unavailable to be
        called again later.
        """
        return iter(())


class Source(_Component):
    """Bring messages in."""

    Settings: ClassVar[type[SourceSettings]] = SourceSettings
    traits: ClassVar[Traits] = Traits(exclusive=True)

    def poll(self, now: float) -> Iterator[SourceOutcome]:
        """Yield what is new. Every `Cursor` covers what was yielded before it; the worker commits at cursors.

        It commits once a batch is full or a second old, at a `Flush`, and at the end. Ending without a `Send` tells the
        worker to look again after `idletime`; a source that waits by itself does so in `Inflow.take`, or no longer than
        half a second, and yields Flush before. When a commit did not take effect the worker exits, so a source may keep
        its position in memory. Raise Unavailable to be called again after a pause; what was yielded since the last
        `Cursor` or `Flush` is then forgotten. After `lost` the process goes on though a commit had no effect: the
        positions of all leases are to be read again then.
        """
        raise NotImplementedError

    def lost(self, lease: Lease) -> None:
        """Stop what needs a lease: another worker has it. What was polled since the last commit took no effect."""
