"""The stage `capture`: the events of a stream become messages."""

from __future__ import annotations

from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from aggregator.config.traits import Traits
from aggregator.errors import ConfigError, Unavailable
from aggregator.files.lockfile import LockFile
from aggregator.http.options import faults_of_files, route_of
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Cursor, Emits, Flush, Send, Source, SourceOutcome
from aggregator.streams.journal import Journal, Place
from aggregator.streams.messages import Connection, Event, Gap
from aggregator.streams.overlap import Overlap
from aggregator.streams.pace import BEGINNING, Pace
from aggregator.streams.platforms.sharing import faults_of_sharing
from aggregator.streams.platforms.table import PLATFORMS
from aggregator.streams.reader import Reader
from aggregator.streams.settings import StreamSettings, faults_of_stream
from aggregator.streams.times import iso

_TURNS = 10
"""The most batches that one poll yields, so that the worker gets to look at its signals."""
_WAIT_S = 0.5


class Position(msgspec.Struct):
    """How far a stream is committed; as text it is the cursor."""

    segment: int
    offset: int
    mark: str
    """The id behind which the platform is to go on; empty when there is none."""


class Capture(Source):
    """Send each event of a stream, once, in order, and a record of each time in which events may be missing.

    In: a connection to a platform, kept up by the platform's own rules.
    Out: `{"kind": "event", "stream": …, "received_ms": …, "event": …}`, `{"kind": "gap", "stream": …, "from_ms": …,
    "to_ms": …, "cause": …}` and `{"kind": "connection", "stream": …, "at_ms": …, "url": …}` on `pushto`.
    Effect: what was received and is not committed waits in `data/streams/.STREAM.journal`, at most `spool_size`.
    Errors: a lost connection is made again after the platform's waits; a platform that refuses the credential is asked
    again after an hour; a message that is no JSON goes on as text (counted `no_json`), one over `max_size` is recorded
    as a gap (counted `too_large`), one that a disconnect cut is dropped (counted `partial`).
    Source: docs/streams.md.
    """

    Settings = StreamSettings
    settings: StreamSettings
    traits = Traits(exclusive=True, tables=("credential",), sections=("rules",))
    emits: ClassVar[Emits] = {"pushto": (Event, Gap, Connection)}

    def __init__(self, settings: StreamSettings, context: Context) -> None:
        super().__init__(settings, context)
        self._stream = context.section.removeprefix("stream_")
        self._folder = context.root / "data/streams" / f".{self._stream}.journal"
        self._journal = Journal(self._folder, settings.spool_size)
        self._overlap = Overlap(self._folder)
        self._lock = LockFile(self._folder / ".lock")
        self._place = Place()
        self._mark = ""
        self._pace = Pace()

    @classmethod
    def check(cls, settings: Any, config: RawConfigParser) -> Iterator[tuple[str | None, str]]:
        """Refuse options that mean nothing to the platform, and filters that it would refuse."""
        yield from faults_of_stream(settings)
        yield from faults_of_sharing(settings, config)
        name = settings.credential
        if name is not None and not config.has_section(f"credential_{name}"):
            yield "credential", f"no section [credential_{name}]"

    @classmethod
    def belongings(cls, settings: Any, root: Path) -> tuple[str, ...]:
        """Return nothing: the positions of a stream belong to its section."""
        return ()

    def start(self) -> None:
        """Find what is committed and what waits on the disk, and begin to read.

        Raises ConfigError for a file that cannot be used, or a package that is not installed.
        """
        for option, words in faults_of_files(route_of(self.settings, self.context.root)):
            raise ConfigError(f"[{self.context.section}] {option}: {words}")
        text = self.context.cursors.get("position")
        position = msgspec.json.decode(text, type=Position) if text else Position(0, 0, "")
        self._place, self._mark = Place(position.segment, position.offset), position.mark
        try:
            self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            holder = self._lock.acquire()
            if holder is not None:
                raise Unavailable(f"{self._folder} is held by another process", pause_s=1.0)
            self._journal.open(self._place)
            if PLATFORMS[self.settings.type].overlaps:
                self._overlap.open(self._journal.holds)
        except OSError as error:
            raise Unavailable(f"cannot open {self._folder}: {error.strerror}") from error
        if self._journal.torn_bytes:
            self.context.log.warning("torn bytes=%d: the end of a write that a crash cut", self._journal.torn_bytes)
        last = self._journal.last
        self._reader = Reader(
            self._stream,
            self.settings,
            self._credential(),
            self._journal,
            self.context,
            (last.mark if last else "") or self._mark,
            self._overlap,
        )
        self._reader.start()

    def poll(self, now: float) -> Iterator[SourceOutcome]:
        """Yield what was received."""
        self.context.note("events/s", f"{self._pace.per_second(now):.2f}")
        for _ in range(_TURNS):
            records, place = self._journal.take(self.settings.batch)
            if not records:
                break
            moments = [record.at_ms for record in records if record.body.startswith(BEGINNING)]
            if moments:
                self._pace.add(now, len(moments))
                self.context.note("last event", iso(moments[-1]))
            for record in records:
                yield Send(self.settings.pushto, record.body)
                self._mark = record.mark or self._mark
            self._place = place
            yield Cursor("position", msgspec.json.encode(Position(*place, self._mark)).decode())
            yield Flush()
        changed = self._reader.changed

        def wait() -> None:
            with changed:
                changed.wait_for(lambda: not self._journal.is_taken, _WAIT_S)

        self.context.interruptibly(wait)

    def committed(self) -> None:
        """Forget on the disk what is committed."""
        self._journal.commit(self._place)

    def stop(self) -> None:
        """End the reader; what it has received and was not committed stays on the disk."""
        self._reader.stop()
        self._journal.close()
        self._overlap.close()
        self._lock.release()

    def _credential(self) -> Any:
        name = self.settings.credential
        if name is None:
            return None
        try:
            return self.context.table("credential").entry(name)
        except ConfigError as error:
            raise Unavailable(f"credential: {error}") from error
