"""The context of a stage: what it is told about where it runs, and how it reports about itself."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from configparser import RawConfigParser
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from aggregator.config.sections import RulesSettings
from aggregator.config.tables import Table

if TYPE_CHECKING:
    from aggregator.runtime.lease import Leases
    from aggregator.runtime.memory import Memory


NO_RULES = RulesSettings()
MOST_AT_ONCE = 1 << 53
"""What one call may count: a counter in Redis has 63 bits, and JSON readers take whole numbers up to this."""


class Report(NamedTuple):
    """Something that a human should know: `aggregator health` shows it under a stable code."""

    code: str
    """A constant word such as `follows_nothing`; monitors match it."""
    about: str
    """The file, feed or queue that the report is about; empty when it is about the section as a whole."""
    text: str
    do: str
    """What to do about it, as one sentence."""
    level: Literal["error", "warning"]
    lasting: bool
    """True for a loss that has happened: it stays, even after the process ended, until an operator acknowledges it."""
    since: float
    """Unix seconds."""


def _call(do: Callable[[], object]) -> None:
    do()


class Context:
    """What the worker tells a stage about where it runs.

    `root` is the instance's folder, `cursors` the positions that this section committed before (read-only),
    `config_parser()` returns all of loglines.cfg for plugins that want it, `clock()` the time in Unix seconds.
    `table(kind)` reads a table of sections as it is configured now; kinds are named in `aggregator.registry.TABLES`.
    `shares_redis` is false when Redis is the instance's own. `rules` says where the rules of streams are.

    `written` are the section's options as they stand in the file, where a variable of the environment has its name for
    a value; `from_environment` are the values that took their place. A stage shows the former and never the latter.

    `instance_id` is made with the instance's folder, `state_id` with the state in Redis. An emptied Redis, or another
    namespace, has another `state_id`, and a note on the disk that names another state says nothing about this one. The
    worker sets `state_id` before the stage starts. `machine` tells machines with the same host name apart.

    `built` and `digest` say which build the section runs. `sections` are all sections of the build, `belongings` tells
    what each of them works on, and `queues` (names as in Redis) are all queues that they read. Where these are known,
    state of any other section or queue belongs to nobody any more. `read_before` are the queues that the section reads
    in earlier builds, though it may never have run with them.
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
        table: Callable[[str], Table] = lambda kind: Table({}),
        shares_redis: bool = False,
        rules: RulesSettings = NO_RULES,
        instance_id: str = "",
        state_id: str = "",
        machine: str = "",
        built: int = 0,
        digest: str = "",
        sections: Collection[str] = (),
        queues: Collection[str] = (),
        belongings: Mapping[str, Collection[str]] | None = None,
        read_before: Collection[str] = (),
        written: Mapping[str, str] | None = None,
        from_environment: Collection[str] = (),
    ) -> None:
        self.section = section
        self.number = number
        self.node = node
        self.root = root
        self.config_parser = config_parser
        self.cursors: Mapping[str, str] = cursors if cursors is not None else {}
        self.clock = clock
        self.table = table
        self.shares_redis = shares_redis
        self.rules = rules
        self.instance_id = instance_id
        self.state_id = state_id
        self.machine = machine
        self.built = built
        self.digest = digest
        self.sections = sections
        self.queues = queues
        self.belongings: Mapping[str, Collection[str]] = belongings if belongings is not None else {}
        self.read_before = read_before
        self.waiting_timers: Collection[str] | None = None
        """The keys of all timers that wait for the section's queue, while `Stage.seed` is called and nothing else of
        the queue is under way; None otherwise. The worker sets it for stages that feed themselves."""
        self.written: Mapping[str, str] = written if written is not None else {}
        self.from_environment = from_environment
        self.log = logging.getLogger(section)
        self._memory: Memory | None = None
        self._leases: Leases | None = None
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self.notes: dict[str, str] = {}
        self.reports: dict[tuple[str, str], Report] = {}
        """The current reports of the stage, by code and about. Never changed in place: a change makes a new dict."""
        self._known_since: Mapping[tuple[str, str], float] = {}
        self._known_until = 0.0
        self.interruptibly: Callable[[Callable[[], object]], None] = _call
        """Calls a function that waits, and returns early when a signal comes. The worker sets it."""
        self.stopping = False
        """True once the process was asked to stop: a long wait inside a stage then ends early, with Unavailable."""

    @property
    def leases(self) -> Leases:
        """The leases of this worker."""
        assert self._leases is not None, "only a running worker has leases"
        return self._leases

    def recall(self, name: str) -> str | None:
        """Return the text that the section remembers under a name that `Stage.needs` gave; None when there is none.

        Changes by messages handled before in the same batch are visible already. Raises LookupError for a name that
        `needs` did not give.
        """
        assert self._memory is not None, "only a running worker remembers"
        return self._memory.recall(name)

    def attach(self, memory: Memory, leases: Leases) -> None:
        """Give the stage the memory and the leases that only a running worker has."""
        self._memory, self._leases = memory, leases

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter of this section; it reaches the books with the next commit. Safe to call from a thread."""
        if not isinstance(by, int):
            raise TypeError(f"counters count whole things (found {by!r} for {name})")
        if abs(by) > MOST_AT_ONCE:
            raise ValueError(f"counters count up to {MOST_AT_ONCE} at once (found {by} for {name})")
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + by

    @property
    def counts(self) -> dict[str, int]:
        """The counts since the last commit."""
        with self._lock:
            return dict(self._counts)

    def take_counts(self) -> dict[str, int]:
        """Return the counts since the last call, and start again from zero."""
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
        """Show something in `aggregator health` until `withdraw`; log it at WARNING when it is new.

        A report that is repeated keeps its beginning. `since`, in Unix seconds, says that it began before it was
        noticed.
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
        """Remove a report that is no longer true."""
        with self._lock:
            if (code, about) in self.reports:
                self.reports = {name: report for name, report in self.reports.items() if name != (code, about)}
            if (code, about) in self._known_since:
                self._known_since = {name: since for name, since in self._known_since.items() if name != (code, about)}

    def resume_reports(self, since: Mapping[tuple[str, str], float], for_s: float) -> None:
        """Keep the beginnings of the previous incarnation's reports, by code and about: no restart ends a report.

        A report that is not made again within `for_s` seconds was over, and begins anew when it comes again.
        """
        self._known_since, self._known_until = since, self.clock() + for_s

    def path(self, text: str) -> Path:
        """Return a configured path; a relative one starts at the instance's folder."""
        return self.root / text
