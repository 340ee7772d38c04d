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
from aggregator.runtime.contract import Cursor, Emits, Flush, Lease, Send, Source, SourceOutcome
from aggregator.runtime.kinds import encode
from aggregator.streams.journal import Journal, Place, Record, folder_of
from aggregator.streams.messages import Connection, Event, Gap
from aggregator.streams.overlap import Overlap
from aggregator.streams.pace import BEGINNING, Pace
from aggregator.streams.permit import STATE, Handed, Permit, Position, Tenure
from aggregator.streams.platforms.sharing import faults_of_sharing
from aggregator.streams.platforms.table import PLATFORMS
from aggregator.streams.reader import Reader
from aggregator.streams.settings import StreamSettings, asked_of, faults_of_stream
from aggregator.streams.times import iso
from aggregator.streams.volume import FALLEN, HOUR_S, Judged, Volume

_TURNS = 10
"""The most batches that one poll yields, so that the worker gets to look at its signals."""
_WAIT_S = 0.5
_TELL_MS = 5000
"""How often a node that captures says until when it has everything, when no event says so."""


class Capture(Source):
    """Send each event of a stream, once, in order, and a record of each time in which events may be missing.

    In: a connection to a platform, kept up by the platform's own rules.
    Out: `{"kind": "event", "stream": …, "received_ms": …, "event": …}`, `{"kind": "gap", "stream": …, "from_ms": …,
    "to_ms": …, "cause": …}` and `{"kind": "connection", "stream": …, "at_ms": …, "url": …}` on `pushto`.
    Effect: what was received and is not committed waits in `data/streams/.STREAM.journal`, at most `spool_size`.
    With `rules` of `x_v2` the rules that X keeps follow the set, also when a killed process had begun to change them.
    Errors: a lost connection is made again after the platform's waits; a platform that refuses the credential is asked
    again after an hour; a message that is no JSON goes on as text (counted `no_json`), one over `max_size`, or
    over 1 MB as it would lie in the queue, is recorded as a gap (counted `too_large`), one that a disconnect cut is
    dropped (counted `partial`). The platform is not asked to go on behind an id over 4 kB (counted `id_too_long`).
    Source: docs/streams.md.
    """

    Settings = StreamSettings
    settings: StreamSettings
    traits = Traits(
        exclusive=True,
        entries=(("credential", "credential", ""), ("credential", "pool", "pool")),
        sections=("rules",),
    )
    emits: ClassVar[Emits] = {"pushto": (Event, Gap, Connection)}

    def __init__(self, settings: StreamSettings, context: Context) -> None:
        super().__init__(settings, context)
        self._stream = context.section.removeprefix("stream_")
        self._folder = folder_of(context.root, self._stream)
        self._journal = Journal(self._folder, settings.spool_size)
        self._overlap = Overlap(self._folder)
        self._lock = LockFile(self._folder / ".lock")
        self._place = Place()
        self._mark = ""
        self._committed = self._place, self._mark
        self._tenure: Tenure | None = None
        self._handed = Handed(context.node, "", 0)
        """What the node that captures the stream after this one is told."""
        self._pace = Pace()
        self._volume = Volume(self._folder.with_name(f".{self._stream}.volume"), asked_of(settings))

    @classmethod
    def check(cls, settings: Any, config: RawConfigParser) -> Iterator[tuple[str | None, str]]:
        """Refuse options that mean nothing to the platform, and filters that it would refuse."""
        yield from faults_of_stream(settings)
        yield from faults_of_sharing(settings, config)
        name = settings.credential
        if name is not None and not config.has_section(f"credential_{name}"):
            yield "credential", f"no section [credential_{name}]"
        if settings.pool is not None and not _has_credentials(config, settings.pool):
            yield "pool", f"no section [credential_NAME] says pool = {settings.pool}"

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
        try:
            self._permit = Permit(self._stream, self.settings, self.context)
        except ConfigError as error:
            raise Unavailable(f"credential: {error}") from error
        text = self.context.cursors.get("position")
        position = msgspec.json.decode(text, type=Position) if text else Position(0, 0, "")
        with_lease = self._permit.learn().positions.get(self.context.node, position)
        position = max(position, with_lease, key=lambda each: each.place)
        self._place, self._mark = position.place, position.mark
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
        self._committed = self._place, self._mark
        last = self._journal.last
        self._reader = Reader(
            self._stream,
            self.settings,
            self._permit,
            self._journal,
            self.context,
            (last.mark if last else "") or self._mark,
            self._overlap,
        )
        self._reader.start()
        self._volume.open(self.context.clock())

    def poll(self, now: float) -> Iterator[SourceOutcome]:
        """Yield what was received."""
        self.context.note("events/s", f"{self._pace.per_second(now):.2f}")
        if (self._place, self._mark) != self._committed:
            # a commit did not take effect, because the stream's lease was lost
            self._place, self._mark = self._committed
            self._journal.take_again(self._place)
        tenure = self._begin_tenure()
        for _ in range(_TURNS):
            records, place = self._journal.take(self.settings.batch)
            if not records:
                self._look(now)
                break
            moments = [record.at_ms for record in records if record.body.startswith(BEGINNING)]
            if moments:
                self._pace.add(now, len(moments))
                self._volume.add(moments)
                self.context.note("last event", iso(moments[-1]))
            for record in records:
                yield Send(self.settings.pushto, self._body_of(record))
                self._mark = record.mark or self._mark
            self._place = place
            position = Position(*place, self._mark)
            if tenure is not None:
                yield self._hand(tenure, position, records[-1].at_ms, _last_mark(records, tenure.since_ms))
            else:
                yield Cursor("position", msgspec.json.encode(position).decode())
            yield Flush()
        yield from self._tell(tenure)
        changed = self._reader.changed

        def wait() -> None:
            with changed:
                changed.wait_for(lambda: not self._journal.is_taken, _WAIT_S)

        self.context.interruptibly(wait)

    def _body_of(self, record: Record) -> bytes:
        """Return the message of a record; that of a hole is a gap."""
        if record.since_ms is None:
            return record.body
        words = f"{len(record.body)} bytes of what waited on the disk are damaged"
        self.context.report(
            "journal_damaged",
            f"{words}, received from {iso(record.since_ms)} to {iso(record.at_ms)}",
            "look after the disk; what was between is lost, and recorded as a gap",
            level="error",
            lasting=True,
        )
        gap = Gap(stream=self._stream, from_ms=record.since_ms, to_ms=record.at_ms, cause="damaged", detail=words)
        return encode(gap)

    def _begin_tenure(self) -> Tenure | None:
        """Return the tenure as long as the stream is surely ours."""
        tenure = self._permit.tenure
        if tenure is None or not self._permit.holds():
            return None
        if tenure is not self._tenure:
            self._tenure = tenure
            handed = tenure.handed
            # what another node left is newer than what we know; what we left may be older
            mark = handed.mark if tenure.since_ms else self._mark
            self._handed = Handed(self.context.node, mark, 0, handed.positions)
        return tenure

    def _hand(self, tenure: Tenure, position: Position, complete_ms: int, mark: str) -> Cursor:
        """Return the position of the stream for the node that captures it next, and that of our journal."""
        self._handed = Handed(
            self.context.node,
            mark or self._handed.mark,
            max(complete_ms, self._handed.complete_ms, tenure.handed.complete_ms),
            {**self._handed.positions, self.context.node: position},
        )
        return Cursor(STATE, msgspec.json.encode(self._handed).decode(), tenure.lease)

    def _tell(self, tenure: Tenure | None) -> Iterator[SourceOutcome]:
        """Yield until when the stream is complete, now and then, while nothing waits to be sent."""
        # order: read it before looking whether all was taken, as the reader sets it behind what it adds
        complete_ms = self._reader.complete_ms
        if tenure is not None and complete_ms - self._handed.complete_ms >= _TELL_MS and self._journal.is_taken:
            yield self._hand(tenure, Position(*self._place, self._mark), complete_ms, "")
            yield Flush()

    def lost(self, lease: Lease) -> None:
        """Do nothing: the reader knows without being told, and `poll` takes again what was not committed."""

    def committed(self) -> None:
        """Forget on the disk what is committed."""
        self._committed = self._place, self._mark
        self._journal.commit(self._place)

    def remains(self) -> bool:
        """End the reader; what it has received is still to be brought, for the stream may never start again."""
        self._reader.stop()
        return not self._journal.is_taken

    def stop(self) -> None:
        """End the reader; what it has received and was not committed stays on the disk."""
        self._reader.stop()
        # order: after the last commit, which says where the next node goes on
        self._permit.release()
        self._save_volume(self.context.clock())
        self._journal.close()
        self._overlap.close()
        self._lock.release()

    def _look(self, now: float) -> None:
        """Look at the volume; called when all that was received is counted."""
        self._volume.look(now, is_seen=self._reader.connected)
        judged = self._volume.judge(now)
        if judged is not None:
            self._tell_volume(judged)
        if self._volume.is_due(now):
            self._save_volume(now)

    def _tell_volume(self, judged: Judged) -> None:
        if not judged.fell:
            self.context.note(FALLEN, "")
            self.context.withdraw("volume_fell")
            return
        begin_s = judged.hour * HOUR_S
        self.context.note(FALLEN, f"{judged.events:,} of {judged.usual:,} events/h")
        self.context.report(
            "volume_fell",
            f"{judged.events:,} events instead of usually {judged.usual:,} in the hour from {iso(begin_s * 1000)}"
            f" (median of {judged.compared})",
            "see whether the platform gives less, and whether filters and credential are still as they should be",
            since=begin_s,
        )

    def _save_volume(self, now: float) -> None:
        try:
            self._volume.save(now)
        except OSError as error:
            self.context.log.warning("the counts of the hours are not saved: %s", error.strerror)


def _has_credentials(config: RawConfigParser, pool: str) -> bool:
    sections = (section for section in config.sections() if section.startswith("credential_"))
    return any(dict(config.items(section)).get("pool", "").strip() == pool for section in sections)


def _last_mark(records: list[Record], since_ms: int) -> str:
    """Return the newest mark of what was received since then; empty when there is none."""
    return next((each.mark for each in reversed(records) if each.mark and each.at_ms >= since_ms), "")
