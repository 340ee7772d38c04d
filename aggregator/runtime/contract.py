"""The contract of a stage: one class, its settings, a few methods.

The worker owns Redis, acknowledgement, retries, signals and logs. A stage learns what it needs from its `Context`,
handles one message at a time and yields the outcomes. Nothing takes effect in Redis before the worker commits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from configparser import RawConfigParser
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, TypeAlias

import msgspec

from aggregator.config import messagekinds
from aggregator.config.settings import DEFAULT_MAXDEPTH, Bounds, Doc, Duration, Integer, ListenQueue, Settings
from aggregator.config.traits import Traits
from aggregator.runtime.context import Context
from aggregator.runtime.message import History, Message


class StageSettings(Settings, frozen=True, kw_only=True):
    """The options that every stage has."""

    # Measured from file to file: 250 is half again as fast as 100, and 1,000 little faster than 250. After a crash the
    # messages of a batch are handled one by one.
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
    """The right to something, such as a partition, that one worker has to itself for some time (`Context.leases`)."""

    pool: str
    name: str
    token: str
    """Greater than every token that was given out before for this name."""


class Send(msgspec.Struct, gc=False):
    """Push `body` to a queue: a mapping, or JSON text as bytes that is sent unchanged.

    With a `key` it is a timer: it becomes a message of the queue in `delay_s` seconds, and replaces the timer that
    waits under this key. A body of None cancels the waiting timer. Timers count in no depth limit, while a message with
    only a delay counts as waiting. A timer that has become a message already is not taken back.
    """

    queue: str
    body: Mapping[str, Any] | bytes | None
    delay_s: float = 0.0
    key: str = ""


class Drop(msgspec.Struct, gc=False):
    """Drop the message on purpose; `reason` is a short constant word for the books."""

    reason: str


class Remember(msgspec.Struct, gc=False):
    """Keep a text under a name for `ttl_s` seconds (None: without end). A `value` of None or '' deletes the text.

    A message may change only names that `Stage.needs` gave: the text that was read is compared at the commit, so that
    no change by another worker is overwritten unseen. The text of a name that is only read is not compared. `settle`,
    `idle` and `died` overwrite a name that was not read.
    """

    name: str
    value: str | None
    ttl_s: float | None = None


class Cursor(msgspec.Struct, gc=False):
    """Store a position in the same atomic step as the messages sent before it; a `value` of None or '' deletes it.

    The position belongs to the section on this node. The cursor of a source may belong to a lease instead, and so to
    the holder of the lease: the whole step takes effect only while this worker is that holder.
    """

    name: str
    value: str | None
    lease: Lease | None = None


class Failed(msgspec.Struct, gc=False):
    """Take back that a message was handled: its effect failed when it was made durable.

    The message is treated as if `handle` had raised `error`. Allowed for messages without other outcomes.
    """

    message: Message
    error: Exception


class Flush(msgspec.Struct, gc=False):
    """Commit now what a source has brought so far."""


Outcome: TypeAlias = Send | Drop | Remember
Settled: TypeAlias = Send | Cursor | Remember | Failed
SourceOutcome: TypeAlias = Send | Drop | Cursor | Flush


class Former(NamedTuple):
    """Another section of the instance, whose cursors this section may take over."""

    cursors: Mapping[str, str]
    belongings: Collection[str]
    """What that section worked on when it ran last."""
    keeps: Collection[str] | None
    """What that section works on as it is built now; None when the section, or its node's name, is gone."""
    renamed: bool
    """True for this section itself under another name of the node."""


SAME = messagekinds.SAME
"""The value in `emits` of a stage that sends on the messages that it reads, unchanged."""
Emits: TypeAlias = Mapping[str, tuple[type[msgspec.Struct], ...] | str]


class _Component:
    """The part of the contract that stages and sources share."""

    Settings: ClassVar[type[StageSettings]]
    traits: ClassVar[Traits] = Traits()
    overview: ClassVar[str] = ""
    """A `monitor.overviews.Overview` of what the stage works on, as ``module:OBJECT`` of an installed package."""
    emits: ClassVar[Emits] = {}
    """The structs of the messages that go to the queues of each option, or `SAME`. `config check` refuses a pipeline
    whose consumer does not accept them. Of an option that is not named here nothing is known."""

    def __init__(self, settings: Any, context: Context) -> None:
        self.settings = settings
        self.context = context

    @classmethod
    def check(cls, settings: Any, config: RawConfigParser) -> Iterator[tuple[str | None, str]]:
        """Yield (option, fault) for faults that show only when options are read together. Must not use the network."""
        return iter(())

    @classmethod
    def check_files(cls, settings: Any, root: Path) -> Iterator[tuple[str, str]]:
        """Yield (option, fault) for files of the section that cannot be used; `root` is the instance's folder."""
        return iter(())

    @classmethod
    def belongings(cls, settings: Any, root: Path) -> tuple[str, ...]:
        """Return what the cursors of a section with these settings are about, for example real paths of files.

        A section that is new, or was renamed, takes over the cursors of a section that is gone and shares one of these
        belongings. Each belonging begins with a word for its kind and a colon; only sections of one kind look at each
        other's cursors.
        """
        return ()

    @classmethod
    def take_over(cls, settings: Any, root: Path, former: Former, own: Mapping[str, str]) -> Collection[str]:
        """Return which cursors of another section belong to this one now; `own` are the cursors that it has already."""
        ours = former.renamed or not set(cls.belongings(settings, root)).isdisjoint(former.belongings)
        return tuple(former.cursors) if former.keeps is None and ours and not own else ()

    @classmethod
    def plugin_options(cls, settings: Mapping[str, str]) -> Mapping[str, str]:
        """Return further options of a section (a plugin's own) as name → documentation, given the section's texts."""
        return {}

    def start(self) -> None:
        """Open what the stage needs. Called once, before the first message; raise Unavailable to be called again."""

    def committed(self) -> None:
        """Do what may only happen after the last commit took effect: remove inputs, announce files.

        Called after each commit of messages, of `idle` or of a source, before anything else is handled in the worker's
        main thread; with `concurrency`, other threads handle messages meanwhile. A killed process may never call this,
        so work that is done here must be found and done at the next start, or do no harm when it is never done. Raise
        Unavailable to have the worker pause and call again; any other exception means the same, and is logged.
        """

    def stop(self) -> None:
        """Close what `start` opened. Called once, after the last commit; not in a killed or superseded process."""


class Stage(_Component):
    """Handle messages of one queue."""

    Settings: ClassVar[type[ConsumerSettings]] = ConsumerSettings
    accepts: ClassVar[tuple[type[msgspec.Struct], ...]] = ()
    """The structs of the messages that the stage takes; none = any JSON object."""

    def seed(self) -> Iterator[Send | Cursor]:
        """Yield the messages that must be under way before the first message is handled.

        Called once, after `start`. The messages are committed in one step with the cursors, and each of the cursors
        must still have the value that it had in `context.cursors`. So one of several processes that start together
        seeds, and the others are called again. Raise Unavailable to be called again later.
        """
        return iter(())

    def needs(self, message: Message) -> Iterable[str]:
        """Return the names that `handle` will recall or remember; the names of a whole batch are read at once.

        Any other name is refused: the message fails, and is tried again or set aside as after any other fault.
        For a message that cannot be read this may raise anything: `handle` is called all the same, and raises it again.
        """
        return ()

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Yield the outcomes of a message: any number of `Send` and `Remember`, or one `Drop`, or nothing.

        Raise Reject, Retry or Unavailable when the message was not handled; any other exception means a retry with
        backoff. A stage with an option `concurrency` is called from that many threads.
        """
        raise NotImplementedError

    def settle(self, now: float) -> Iterator[Settled]:
        """Make the effects of the messages handled since the last call durable; yield outcomes to commit with them.

        Called before every commit that has messages; `now` in Unix seconds. Raise Unavailable (a full disk) to be
        called again after a pause; until it returns nothing is committed. Yield `Failed` for a message whose effect
        failed alone. When another worker changed a text that a `Remember` of the batch changes, the commit has no
        effect and the process starts anew: `start` takes back what is not committed.
        """
        return iter(())

    def died(self, message: Message, history: History) -> Iterator[Send | Remember]:
        """Yield outcomes to commit together with a dead letter, so that whoever waits for the message learns of it.

        Called for a message that failed for good, and for a message whose workers vanished too often.
        """
        return iter(())

    def idle(self, now: float) -> Iterator[Settled]:
        """Yield outcomes that are due without a message, for files to rotate or work found on the disk, for example.

        `now` is in Unix seconds. Called again and again while there is no message to take, none in hand, and no target
        is full; the outcomes take effect in one step. A stage that looks at the disk here decides itself how often.
        Raise Unavailable to be called again later.
        """
        return iter(())


class Source(_Component):
    """Bring messages in."""

    Settings: ClassVar[type[SourceSettings]] = SourceSettings
    traits: ClassVar[Traits] = Traits(exclusive=True)

    def poll(self, now: float) -> Iterator[SourceOutcome]:
        """Yield new messages. Every `Cursor` covers the outcomes yielded before it; the worker commits at cursors.

        The worker commits once a batch is full or a second old, at a `Flush`, and at the end. When a poll ends without
        a `Send` or a `Drop`, the worker polls again after `idletime`. A source that waits by itself does so in
        `Inflow.take`, or for half a second at most, and yields Flush before it waits. When a commit did not take effect
        the worker exits, so a source may keep its position in memory; only when a lease was lost the worker goes on,
        calls `lost`, and the source reads the positions of all its leases again. Raise Unavailable to be called again
        after a pause; outcomes yielded since the last `Cursor` or `Flush` are then forgotten.
        """
        raise NotImplementedError

    def remains(self) -> bool:
        """Take in nothing more, because the worker ends; return whether a poll would bring what was taken in before.

        Called once the worker is told to end, and again after each poll that follows, until it returns False or a
        target has no room.
        """
        return False

    def lost(self, lease: Lease) -> None:
        """Stop the work that needs a lease, because another worker has it.

        Outcomes that were polled since the last commit took no effect. Raise Unavailable to be called again after a
        pause, as the calls of `context.leases` do while Redis is away.
        """
