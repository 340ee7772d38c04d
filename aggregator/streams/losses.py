"""The books of a stream: until when nothing of it is missing, what may be missing since then, and why."""

from __future__ import annotations

from contextlib import suppress
from threading import Lock

from aggregator.runtime.context import Context
from aggregator.runtime.kinds import encode
from aggregator.streams.aliveness import Aliveness, read_aliveness, write_aliveness
from aggregator.streams.journal import Journal, Record
from aggregator.streams.messages import Gap
from aggregator.streams.pace import Pace
from aggregator.streams.replay import Replay

_ON_ITS_WAY_MS = 1000
"""A gap begins this long before the last byte that came: what was on its way then was lost with the connection. It ends
this long after the next connection was made: a platform may answer before it sends all that is published."""
_RATED_MS = 10_000
"""How old a connection must be to tell more about the pace of a stream than the one before."""


class NoRoom(Exception):
    """The spool is full, and the stream can go on later behind what has room."""


class Books:
    """Write into the journal what comes, and what is missing. All is for the reader's thread but `write`."""

    def __init__(self, stream: str, journal: Journal, context: Context, replay: Replay | None) -> None:
        """`replay` is told what of a stream that comes again is written."""
        self._stream = stream
        self._journal = journal
        self._context = context
        self._replay = replay
        self._path = context.root / "data/streams" / f".{stream}.alive"
        self._writing = Lock()
        self.complete_ms = 0
        """The moment up to which everything was received; 0 when the stream was never connected."""
        self.cause, self.detail = "", ""
        """Why events may be missing since then; empty while connected."""
        self._connected_ms = 0
        self._pace, self._per_second = Pace(), 0.0
        """The events of this connection, and how many came a second; 0 when that is not known."""
        self._lost, self._lost_from_ms, self._lost_cause = 0, 0, ""

    def open(self) -> None:
        """Go on with what the process before noted. Raises OSError."""
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        note, last = read_aliveness(self._path), self._journal.last
        self.complete_ms = max(note.complete_ms if note else 0, last.at_ms if last else 0)
        if self.complete_ms:
            self.cause = (note.cause if note else "") or "killed"
            self._per_second = note.per_second if note else 0.0

    def close(self) -> None:
        """Note until when the stream is complete. Raises OSError."""
        self._tell_loss()
        self.write(self.cause or "stopped")

    def write(self, cause: str) -> None:
        """Note the progress. Any thread may call it. Raises OSError."""
        with self._writing:
            if self.complete_ms:
                write_aliveness(self._path, Aliveness(self.complete_ms, cause, self._per_second))

    def interrupted(self, cause: str, detail: str) -> None:
        """From now on events may be missing, for this reason."""
        self.cause, self.detail = cause, detail

    def ends_at(self, now_ms: int, *, asked_from: str, is_promised: bool) -> list[Record]:
        """Return the record of the gap that a new connection ends; none where the platform sends all that is missing.

        `asked_from` is the id behind which the platform was asked to go on.
        """
        if not self.complete_ms or (asked_from and is_promised):
            return []
        self._context.count("gaps")
        asked = "; the server was asked for what follows the last event" if asked_from else ""
        begin_ms = max(min(self.complete_ms, now_ms) - _ON_ITS_WAY_MS, 0)
        lost, words = (None, asked) if asked else self._estimate(now_ms - self.complete_ms)
        gap = self.gap(begin_ms, now_ms + _ON_ITS_WAY_MS, self.cause or "disconnect", f"{self.detail}{words}", lost)
        # received now: nobody may believe that all until its end was received
        return [gap._replace(at_ms=now_ms)]

    def connected(self, now_ms: int) -> None:
        """A connection was made, and is recorded. Raises OSError."""
        self.complete_ms = max(self.complete_ms, now_ms)
        self.detail = ""
        self._connected_ms = now_ms
        self._pace = Pace()
        # order: note it before the first event: a process that is killed in its first second leaves a gap too
        self.write("")
        self.cause = ""

    def came(self, now_ms: int, number: int) -> None:
        """Count events that came now."""
        self._pace.add(now_ms / 1000, number)

    def reached(self, now_ms: int) -> None:
        """All that came until now is written."""
        is_new_second = now_ms // 1000 != self.complete_ms // 1000
        if is_new_second and (now_ms - self._connected_ms >= _RATED_MS or not self._per_second):
            self._per_second = self._pace.per_second(now_ms / 1000)
        self.complete_ms = now_ms

    def gap(self, from_ms: int, to_ms: int, cause: str, detail: str, lost: int | None = None) -> Record:
        """Return the record of a gap."""
        gap = Gap(stream=self._stream, from_ms=from_ms, to_ms=to_ms, cause=cause, detail=detail, lost=lost)
        return Record(encode(gap), to_ms)

    def append(self, records: list[Record], *, comes_again: bool) -> bool:
        """Add records to the journal, behind a gap's record for those that found no room before.

        Returns False when they found no room, and raises NoRoom instead when they will come again.
        """
        if self._lost:
            words = "no room in the spool" if self._lost_cause == "spool_full" else "the disk took nothing"
            gap = self.gap(self._lost_from_ms, records[0].at_ms, self._lost_cause, words, self._lost)
            records = [gap, *records]
        replay = self._replay
        try:
            cause = "" if self._journal.append(records, replay.overlap.keep if replay else None) else "spool_full"
        except OSError as error:
            self._context.log.error("journal failed: %s", error)
            cause = "disk"
        if replay is not None:
            replay.written(not cause)
        if cause and comes_again:
            raise NoRoom
        if cause:
            new = len(records) - bool(self._lost)
            self._lost_from_ms = self._lost_from_ms if self._lost else records[0].at_ms
            self._lost += new
            self._lost_cause = cause
            self._context.count(f"lost_{cause}", new)
            return False
        if self._lost:
            self._report_loss()
            self._lost = 0
        return True

    def _estimate(self, missing_ms: int) -> tuple[int | None, str]:
        """Return how many events may be missing, and by what that is estimated; None when nothing is known."""
        if not self._per_second:
            return None, ""
        lost = round(self._per_second * missing_ms / 1000)
        return lost, f"; lost is estimated, by {self._per_second:.1f} events/s before"

    def _tell_loss(self) -> None:
        """Record a loss that no later event could carry into the journal."""
        if self._lost:
            with suppress(OSError):
                words = "told when the process ended"
                now_ms = int(self._context.clock() * 1000)
                self._journal.append([self.gap(self._lost_from_ms, now_ms, self._lost_cause, words, self._lost)])
            self._report_loss()

    def _report_loss(self) -> None:
        self._context.report(
            "events_lost",
            f"{self._lost} events of {self._stream} found no room on the disk ({self._lost_cause})",
            "see why Redis or the queue's reader was away; raise spool_size, or free the disk",
            level="error",
            lasting=True,
        )
