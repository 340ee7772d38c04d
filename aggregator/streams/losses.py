"""The books of a stream: until when nothing of it is missing, what may be missing since then, and why."""

from __future__ import annotations

from threading import Lock
from typing import NamedTuple

from aggregator.runtime.context import Context
from aggregator.runtime.kinds import decode, encode
from aggregator.streams.aliveness import Aliveness, Withheld, read_aliveness, write_aliveness
from aggregator.streams.journal import Journal, Record
from aggregator.streams.messages import Connection, Gap
from aggregator.streams.pace import BEGINNING, Pace
from aggregator.streams.replay import Replay
from aggregator.streams.times import iso

_ON_ITS_WAY_MS = 1000
"""A gap begins this long before the last byte that came: what was on its way then was lost with the connection. It ends
this long after the next connection was made: a platform may answer before it sends all that is published."""
_RATED_MS = 10_000
"""How old a connection must be to tell more about the pace of a stream than the one before."""
_TOGETHER_MS = 60_000
"""So long a time of notices that events were withheld makes one gap: a busy platform sends one each second."""
_AGAIN_S = 60.0
"""How long the same fault of the disk is not logged again."""
_DAY_S = 24 * 3600
_WORDS = {"spool_full": "no room in the spool", "disk": "the disk took nothing"}


class NoRoom(Exception):
    """The spool is full, and the stream can go on later behind what has room."""


class _Loss(NamedTuple):
    """What found no room since the last time that something did."""

    from_ms: int
    to_ms: int
    cause: str
    """`spool_full` or `disk`."""
    events: int = 0
    others: int = 0
    """How many events are missing besides, by gaps whose own records found no room."""
    gap_cause: str = ""
    """Why the first of these gaps was; empty when there is none."""


class Books:
    """Write into the journal what comes, and what is missing.

    All is for the reader's thread, but any thread may call `keep` and ask for `complete_ms`.
    """

    def __init__(self, stream: str, journal: Journal, context: Context, replay: Replay | None) -> None:
        """`replay` is told what of a stream that comes again is written."""
        self._stream = stream
        self._journal = journal
        self._context = context
        self._replay = replay
        self._path = context.root / "data/streams" / f".{stream}.alive"
        self._writing = Lock()
        self._complete_ms = 0
        self.cause, self.detail = "", ""
        """Why events may be missing since then; empty while connected."""
        self._connected_ms = 0
        self._pace, self._per_second = Pace(), 0.0
        """The events of this connection, and how many came a second; 0 when that is not known."""
        self._rated_before = False
        """True when a connection before this one told how many events come a second."""
        self._loss: _Loss | None = None
        self._lost = 0
        """How many events found no room since the process began."""
        self._unrecorded: list[Record] = []
        """Connections whose records found no room: what is recorded later came over the last one."""
        self._withheld: Withheld | None = None
        """What the platform withheld and is in no gap yet."""
        self.withheld_total, self._noticed_ms = 0, 0
        """How many events were withheld since the connection was made, and when that was known last."""
        self._said: dict[str, float] = {}

    @property
    def complete_ms(self) -> int:
        """The moment in Unix milliseconds up to which everything that came is in the journal; 0 = never connected."""
        return self._known()[0]

    def open(self) -> None:
        """Go on with what the process before noted. Raises OSError."""
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        note, last = read_aliveness(self._path), self._journal.last
        self._complete_ms = max(note.complete_ms if note else 0, last.at_ms if last else 0)
        if self._complete_ms:
            self.cause = (note.cause if note else "") or "killed"
            self._per_second = note.per_second if note else 0.0
        self._withheld = note.withheld if note else None
        self._tell_withheld()

    def close(self) -> None:
        """Record a loss that no later event could tell, and note until when the stream is complete."""
        loss = self._loss
        if loss is not None:
            gap = self._gap_of(loss, self._now_ms(), "told when the process ended")
            # received when the last byte was: the time since then is missing for another cause
            gap = gap._replace(at_ms=self._complete_ms)
            try:
                if self._journal.append([gap, *self._unrecorded]):
                    self._loss, self._unrecorded = None, []
            except OSError as error:
                self._say(f"journal failed: {error}")
            self._report(loss)
        self._try_to_write("stopped")

    def keep(self) -> None:
        """Sync the journal and note the progress."""
        try:
            self._journal.sync()
            self._write()
        except OSError as error:
            self._say(f"cannot keep the journal: {error}")

    def began(self, now_ms: int) -> None:
        """A stream that never was connected misses what comes from now on."""
        self._complete_ms = self._complete_ms or now_ms

    def captured_elsewhere(self, until_ms: int) -> None:
        """What another node has captured is not missing here."""
        self._complete_ms = max(self._complete_ms, until_ms)

    def interrupted(self, cause: str, detail: str) -> None:
        """From now on events may be missing, for this reason."""
        self.cause, self.detail = cause, detail

    def disconnected(self) -> None:
        """The connection has ended."""
        self._tell_withheld()

    def ends_at(self, now_ms: int, *, asked_from: str, promise_s: float) -> list[Record]:
        """Return the record of the gap that a new connection ends; none where the platform sends all that is missing.

        `asked_from` is the id behind which the platform was asked to go on, and `promise_s` how far back it does.
        """
        missing_ms = now_ms - self._complete_ms
        is_promised = bool(asked_from and promise_s)
        if not self._complete_ms or (is_promised and missing_ms <= promise_s * 1000):
            return []
        begin_ms = max(min(self._complete_ms, now_ms) - _ON_ITS_WAY_MS, 0)
        cause, words, lost = self.cause or "disconnect", "", None
        if is_promised:
            cause, words = "cursor_too_old", f"; the platform is known to keep {promise_s / _DAY_S:g} days"
        elif asked_from:
            words = "; the server was asked for what follows the last event"
        else:
            lost, words = self._estimate(missing_ms)
        gap = self.gap(begin_ms, now_ms + _ON_ITS_WAY_MS, cause, f"{self.detail}{words}".removeprefix("; "), lost)
        # received now: nobody may believe that all until its end was received
        return [gap._replace(at_ms=now_ms)]

    def connected(self, now_ms: int) -> None:
        """A connection was made, and is recorded."""
        self._complete_ms = max(self._complete_ms, now_ms)
        self._connected_ms = self._noticed_ms = now_ms
        self.withheld_total = 0
        self._pace, self._rated_before = Pace(now_ms / 1000), bool(self._per_second)
        self.cause, self.detail = "", ""
        # order: note it before the first event: a process that is killed in its first second leaves a gap too
        self._try_to_write()

    def came(self, now_ms: int, number: int) -> None:
        """Count events that came now."""
        self._pace.add(now_ms / 1000, number)

    def reached(self, now_ms: int) -> None:
        """All that came until now is written, or is counted as lost."""
        is_new_second = now_ms // 1000 != self._complete_ms // 1000
        if is_new_second and (now_ms - self._connected_ms >= _RATED_MS or not self._rated_before):
            self._per_second = self._pace.per_second(now_ms / 1000)
        self._complete_ms = now_ms

    def withheld(self, total: int, now_ms: int) -> None:
        """The platform says how many events it has withheld since the connection was made."""
        new = total - self.withheld_total
        if new > 0:
            before = self._withheld or Withheld(from_ms=self._noticed_ms)
            # the clock may have been set back meanwhile
            from_ms, to_ms = min(before.from_ms, now_ms), max(before.to_ms, now_ms)
            self._withheld = Withheld(from_ms=from_ms, to_ms=to_ms, lost=before.lost + new)
        self.withheld_total = max(self.withheld_total, total)
        self._noticed_ms = now_ms

    def gap(self, from_ms: int, to_ms: int, cause: str, detail: str, lost: int | None = None) -> Record:
        """Return the record of a gap."""
        gap = Gap(stream=self._stream, from_ms=from_ms, to_ms=to_ms, cause=cause, detail=detail, lost=lost)
        return Record(encode(gap), to_ms)

    def append(self, records: list[Record], *, comes_again: bool) -> bool:
        """Add records to the journal, behind a gap's record for those that found no room before.

        Returns False when they found no room, and raises NoRoom instead when they will come again.
        """
        withheld, now_ms = self._withheld, records[-1].at_ms
        if withheld is None or now_ms - withheld.from_ms < _TOGETHER_MS:
            return self._add(records, comes_again=comes_again)
        is_added = self._add([*records, self._gap_withheld(withheld, now_ms)], comes_again=comes_again)
        self._forget_withheld()
        return is_added

    def _add(self, records: list[Record], *, comes_again: bool) -> bool:
        before, loss = list[Record](), self._loss
        if loss is not None:
            before = [self._gap_of(loss, records[0].at_ms, _WORDS[loss.cause]), *self._unrecorded]
        cause = self._written([*before, *records])
        if cause and comes_again:
            raise NoRoom
        if cause:
            self._lose(records, cause)
        elif loss is not None:
            self._loss, self._unrecorded = None, []
            self._report(loss)
        return not cause

    def _written(self, records: list[Record]) -> str:
        """Add records to the journal. Returns why they found no room; empty when they did."""
        replay, cause = self._replay, ""
        try:
            if not self._journal.append(records, replay.overlap.keep if replay else None):
                cause = "spool_full"
                self._say("the spool is full: nothing more is taken until the queue has room")
        except OSError as error:
            cause = "disk"
            self._say(f"journal failed: {error}")
        if replay is not None:
            replay.written(not cause)
        return cause

    def _lose(self, records: list[Record], cause: str) -> None:
        """Count what found no room; the record of a connection is kept for later."""
        before = self._loss
        loss = before or _Loss(records[0].at_ms, records[0].at_ms, cause)
        for record in records:
            moments = [record.at_ms]
            message = None if record.body.startswith(BEGINNING) else decode(record.body, Gap, Connection)
            if message is None:
                loss = loss._replace(events=loss.events + 1)
            elif isinstance(message, Gap):
                moments = [message.from_ms, message.to_ms]
                others, gap_cause = loss.others + (message.lost or 0), loss.gap_cause or message.cause
                loss = loss._replace(others=others, gap_cause=gap_cause)
            elif isinstance(message, Connection):
                self._unrecorded = [*(self._unrecorded if message.continues else ()), record]
            loss = loss._replace(from_ms=min(loss.from_ms, *moments), to_ms=max(loss.to_ms, *moments))
        self._loss = loss._replace(cause=cause)
        new = loss.events - (before.events if before else 0)
        if new:
            self._lost += new
            self._context.count(f"lost_{cause}", new)
        if new and (before is None or not before.events or before.cause != cause):
            self._report(self._loss, lasts=True)

    def _gap_of(self, loss: _Loss, to_ms: int, words: str) -> Record:
        if loss.gap_cause:
            words = f"{words}; nor was there room for the record of a gap ({loss.gap_cause})"
        return self.gap(loss.from_ms, max(loss.to_ms, to_ms), loss.cause, words, loss.events + loss.others)

    def _gap_withheld(self, withheld: Withheld, received_ms: int) -> Record:
        words = "withheld by the platform"
        gap = self.gap(withheld.from_ms, withheld.to_ms, "limit", words, withheld.lost)
        return gap._replace(at_ms=received_ms)

    def _tell_withheld(self) -> None:
        """Record what was withheld until now."""
        if self._withheld is not None:
            # received when the last byte was: the time since then is missing for another cause
            self._add([self._gap_withheld(self._withheld, self._complete_ms)], comes_again=False)
            self._forget_withheld()

    def _forget_withheld(self) -> None:
        # order: in the journal, then no more in the note: a kill between them tells it twice, and never not at all
        self._withheld = None
        self._try_to_write()

    def _estimate(self, missing_ms: int) -> tuple[int | None, str]:
        """Return how many events may be missing, and by what that is estimated; None when nothing is known."""
        if not self._per_second:
            return None, ""
        lost = round(self._per_second * missing_ms / 1000)
        return lost, f"; lost is estimated, by {self._per_second:.1f} events/s before"

    def _report(self, loss: _Loss, *, lasts: bool = False) -> None:
        words = f"{self._lost} events of {self._stream} found no room on the disk ({loss.cause})"
        if lasts:
            words = f"events of {self._stream} find no room on the disk ({loss.cause}) since {iso(loss.from_ms)}"
        if loss.events:
            self._context.report(
                "events_lost",
                words,
                "see why Redis or the queue's reader was away; raise spool_size, or free the disk",
                level="error",
                lasting=True,
            )

    def _known(self) -> tuple[int, str]:
        """Return until when all that came is in the journal, and why it is not since then, as far as is known."""
        # order: the moment, then the loss, as the reader's thread sets the loss before the moment passes it
        complete_ms, cause, loss = self._complete_ms, self.cause, self._loss
        return (min(complete_ms, loss.from_ms), loss.cause) if loss is not None else (complete_ms, cause)

    def _write(self, otherwise: str = "") -> None:
        """Replace the note; `otherwise` is why events are missing from now on unless they were before."""
        with self._writing:
            complete_ms, cause = self._known()
            if complete_ms:
                note = Aliveness(complete_ms, cause or otherwise, self._per_second, self._withheld)
                write_aliveness(self._path, note)

    def _try_to_write(self, otherwise: str = "") -> None:
        try:
            self._write(otherwise)
        except OSError as error:
            # an older note makes a gap longer than it was, never shorter
            self._say(f"cannot note the progress: {error}")

    def _say(self, words: str) -> None:
        now = self._context.clock()
        if words not in self._said or abs(now - self._said[words]) >= _AGAIN_S:
            self._said[words] = now
            self._context.log.error("%s", words)

    def _now_ms(self) -> int:
        return int(self._context.clock() * 1000)
