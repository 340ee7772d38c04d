"""What a stage is: one class, its settings, one method.

The worker owns Redis, acknowledgement, retries, signals and logs. A stage is told what it needs in its `Context`,
handles one message at a time and says what comes of it; nothing takes effect in Redis before the worker commits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from configparser import RawConfigParser
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeAlias

import msgspec

from aggregator.config.settings import DEFAULT_MAXDEPTH, Bounds, Doc, Duration, Integer, ListenQueue, Settings
from aggregator.config.tables import FeedTable
from aggregator.errors import ConfigError
from aggregator.runtime.message import Message


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


class Send(msgspec.Struct, gc=False):
    """Push `body` to a queue: a mapping, or JSON text as bytes that goes on as it is."""

    queue: str
    body: Mapping[str, Any] | bytes
    delay_s: float = 0.0


class Drop(msgspec.Struct, gc=False):
    """Let the message go, on purpose; `reason` is a short constant word for the books."""

    reason: str


class Cursor(msgspec.Struct, gc=False):
    """Store a position in the same atomic step as what was sent before it; None forgets it."""

    name: str
    value: str | None


class Report(NamedTuple):
    """Something that a human should know of: what `aggregator health` shows under a stable code."""

    code: str
    """A constant word such as `follows_nothing`; monitors match it."""
    about: str
    """The file, feed or queue it is about; empty when it is the section as a whole."""
    text: str
    do: str
    """What to do about it, as one sentence."""
    level: Literal["error", "warning"]
    lasting: bool
    """True for a loss that has happened: it stays, also when the process ends, until an operator acknowledges it."""
    since: float
    """Unix seconds."""


Outcome: TypeAlias = Send | Drop
SourceOutcome: TypeAlias = Send | Drop | Cursor


def _no_store(name: str) -> Any:
    raise ConfigError(f"[store_{name}]: no such section")


class Former(NamedTuple):
    """Another section of the instance that has cursors: what the cursors of ours may be found among."""

    cursors: Mapping[str, str]
    belongings: Collection[str]
    """What it worked on when it ran last."""
    keeps: Collection[str] | None
    """What it works on as it is built now; None for a section, or the name of a node, that is gone."""
    renamed: bool
    """True for the section itself, under another name of the node."""


class Context:
    """What the worker tells a stage about where it runs.

    `root` is the instance's folder, `cursors` the positions this section committed before (read-only),
    `config_parser()` all of loglines.cfg for plugins that want it, `clock` the time in Unix seconds.
    `feeds()` reads the feeds as they are configured now (a `tables.FeedTable`), `store_settings(name)` the options of
    a section `[store_NAME]` (ConfigError when there is none). `shares_redis` is false when Redis is the instance's own.
    `instance_id` is made with the instance's folder, `state_id` with the state in Redis: an emptied Redis, or another
    namespace, has another one. A note on the disk that names another state says nothing of this one. The worker sets
    `state_id` before the stage starts. `machine` tells machines of one host name apart.
    `built` and `digest` say which build the section runs; `sections` are all that it has, `belongings` what each of
    them works on, and `queues` (names as in Redis) all that they read: state of others belongs to nobody any more,
    where these are known. `read_before` are the queues that earlier builds had the section read, though it may never
    have run so.
    """

    def __init__(
        self,
        *,
        section: str,
        number: int,
        node: str,
        root: Path,
        config_parser: Callable[[], RawConfigParser] = RawConfigParser,
        cursors: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
        feeds: Callable[[], FeedTable] = lambda: FeedTable({}, (), ()),
        store_settings: Callable[[str], Any] = _no_store,
        shares_redis: bool = False,
        instance_id: str = "",
        state_id: str = "",
        machine: str = "",
        built: int = 0,
        digest: str = "",
        sections: Collection[str] = (),
        queues: Collection[str] = (),
        belongings: Mapping[str, Collection[str]] | None = None,
        read_before: Collection[str] = (),
    ) -> None:
        self.section = section
        self.number = number
        self.node = node
        self.root = root
        self.config_parser = config_parser
        self.cursors: Mapping[str, str] = cursors if cursors is not None else {}
        self.clock = clock
        self.feeds = feeds
        self.store_settings = store_settings
        self.shares_redis = shares_redis
        self.instance_id = instance_id
        self.state_id = state_id
        self.machine = machine
        self.built = built
        self.digest = digest
        self.sections = sections
        self.queues = queues
        self.belongings: Mapping[str, Collection[str]] = belongings if belongings is not None else {}
        self.read_before = read_before
        self.log = logging.getLogger(section)
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self.notes: dict[str, str] = {}
        self.reports: dict[tuple[str, str], Report] = {}
        """What the stage reports now, by code and about. Never changed in place: every change is a new object."""
        self._known_since: Mapping[tuple[str, str], float] = {}
        self._known_until = 0.0
        self.stopping = False
        """True once the process was asked to stop: long waits inside a stage end early, with Unavailable."""

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter of this section; it reaches the books with the next commit. Safe to call from a thread."""
        if not isinstance(by, int):
            raise TypeError(f"counters count whole things (found {by!r} for {name})")
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + by

    @property
    def counts(self) -> dict[str, int]:
        """What was counted since the last commit."""
        with self._lock:
            return dict(self._counts)

    def take_counts(self) -> dict[str, int]:
        """Return what was counted since the last call."""
        with self._lock:
            counts, self._counts = self._counts, {}
        return counts

    def note(self, name: str, text: str) -> None:
        """Show a fact of this worker in `aggregator status` (a breaker's state, a file's name)."""
        self.notes[name] = text

    def report(
        self,
        code: str,
        text: str,
        do: str,
        *,
        about: str = "",
        level: Literal["error", "warning"] = "warning",
        lasting: bool = False,
        since: float = 0.0,
    ) -> None:
        """Have `aggregator health` show something until `withdraw`; log it at WARNING when it is new.

        Reported again, it keeps the time since when it has been so; `since` says that it began before it was noticed.
        """
        with self._lock:
            known = self.reports.get((code, about))
            if known is None:
                self.log.warning("%s about=%s text=%s", code, about, text)
                before = self._known_since.get((code, about), 0.0) if self.clock() < self._known_until else 0.0
                since = before or since or self.clock()
            else:
                since = known.since
            report = Report(code, about, text, do, level, lasting, since)
            if report != known:
                # a new dict: the heartbeat's thread may be reading the old one
                self.reports = {**self.reports, (code, about): report}

    def withdraw(self, code: str, about: str = "") -> None:
        """Let a report go: it is so no more."""
        with self._lock:
            if (code, about) in self.reports:
                self.reports = {name: report for name, report in self.reports.items() if name != (code, about)}
            if (code, about) in self._known_since:
                self._known_since = {name: since for name, since in self._known_since.items() if name != (code, about)}

    def recall(self, since: Mapping[tuple[str, str], float], for_s: float) -> None:
        """Keep the beginnings of what the incarnation before this one reported, by code and about: no restart ends it.

        What is not reported again within `for_s` seconds was over, and begins anew when it comes again.
        """
        self._known_since, self._known_until = since, self.clock() + for_s

    def path(self, text: str) -> Path:
        """Return a configured path; a relative one starts at the instance's folder."""
        return self.root / text


class _Component:
    """What stages and sources share."""

    Settings: ClassVar[type[StageSettings]]
    exclusive: ClassVar[bool] = False
    """True when a second process of the section could only stand in the way: numprocs must be 1."""
    tables: ClassVar[tuple[str, ...]] = ()
    """How the names of other sections begin that it reads, such as `feed_`: a change in them restarts its workers."""
    writes: ClassVar[tuple[str, ...]] = ()
    """Which of its options name a file that it appends to."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Which of its options name files that it follows: paths and globs."""
    tells_of_files: ClassVar[bool] = False
    """True when what it sends names files of this machine, so that no other machine may take it."""

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

    def stop(self) -> None:
        """Close it. Called once, after the last commit; not called when the process is killed."""


class Stage(_Component):
    """Handle messages of one queue."""

    Settings: ClassVar[type[ConsumerSettings]] = ConsumerSettings
    alone_from: ClassVar[int] = 1
    """A message that lost this many workers is handed out alone. More than 1 where messages are slow and rarely at
    fault, so that one kill does not make many of them wait for one another."""

    circulates: ClassVar[bool] = False
    """True when it sends the messages of its own queue, each for its time; nobody else needs to feed it."""

    def seed(self) -> Iterator[Send | Cursor]:
        """Yield the messages that must be under way before the first is handled.

        Called once, after `start`. Committed in one step with the cursors, each of which must still have the value it
        had in `context.cursors`: of several processes that start together one seeds, and the others are called again.
        """
        return iter(())

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Yield what comes of a message: any number of `Send`, or one `Drop`, or nothing for work done elsewhere.

        Raise Reject, Retry or Unavailable to say otherwise; any other exception means a retry with backoff. A stage
        with an option `concurrency` is called from that many threads.
        """
        raise NotImplementedError

    def idle(self, now: float) -> Iterator[Send | Cursor]:
        """Yield the messages of work that is found elsewhere than in the queue; `now` in Unix seconds.

        Called again and again while there is nothing to take and nothing in hand; what is yielded takes effect in one
        step. A stage that looks at the disk for it says itself how often. Raise Unavailable to be called again later.
        """
        return iter(())

    def settle(self) -> Mapping[str, str]:
        """Make the effects of the messages handled since the last call durable, and return cursors to store.

        Called before every commit that has messages. Raise Unavailable (a full disk) to be called again after a
        pause; until it returns nothing is committed.
        """
        return {}


class Source(_Component):
    """Bring messages in."""

    Settings: ClassVar[type[SourceSettings]] = SourceSettings
    exclusive: ClassVar[bool] = True

    def poll(self, now: float) -> Iterator[SourceOutcome]:
        """Yield what is new. Every `Cursor` covers what was yielded before it; the worker commits at cursors only.

        Ending without a `Send` tells the worker to look again after `idletime`. When a commit did not take effect
        the worker exits, so a source may keep its position in memory. Raise Unavailable to be called again after a
        pause; what was yielded since the last `Cursor` is then forgotten.
        """
        raise NotImplementedError
