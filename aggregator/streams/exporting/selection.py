"""The lines that an export is of, in order of time, and what could not be read of them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from aggregator.stores.store import Damaged
from aggregator.streams.messages import Connection, rules_without
from aggregator.streams.reading.events import Shape, shape_of
from aggregator.streams.reading.hashing import Hashed
from aggregator.streams.reading.places import Place, Sidecar, StreamFile, sidecar_beside
from aggregator.streams.reading.unpacking import Lines

_DAY_MS = 86_400_000
_SECOND_MS = 1000


class Span(NamedTuple):
    """A time in Unix milliseconds; the end does not belong to it."""

    start_ms: int
    end_ms: int


class Line(NamedTuple):
    """A line of a stream's file."""

    stream: str
    raw: bytes
    shape: Shape
    received_ms: int
    """About when it was received: the event's own time, kept within the file's; as files do not tell it for each."""


class Chosen(NamedTuple):
    """A file of an export."""

    file: StreamFile
    sidecar: Sidecar | None
    """None while the file is written, and when the sidecar is lost."""
    first_ms: int
    last_ms: int

    @property
    def size_bytes(self) -> int:
        """How large the file is."""
        return self.file.size_bytes


class Problem(NamedTuple):
    """What could not be read."""

    file: str
    words: str
    is_known: bool = False
    """True when the file's sidecar says it already, or the file is still written: then nothing went wrong since."""


class Catalogue:
    """The files of streams with their sidecars."""

    def __init__(self, place: Place, streams: Iterable[str]) -> None:
        self.place = place
        self.problems: list[Problem] = []
        self.history: dict[str, list[Connection]] = {}
        """Of each stream the connections at which something else was asked for than before."""
        self.files = {stream: [self._chosen(file) for file in place.files(stream)] for stream in streams}
        """The files of each stream, in order of time."""

    def moved(self, span: Span) -> list[Problem]:
        """Return the streams of which files of a time were moved into a store, so that they are missing here."""
        found = ((stream, self.place.moved(stream)) for stream in self.files)
        return [
            Problem(stream, "`archive` has moved files of this time into a store; export them with --store NAME", True)
            for stream, moved in found
            # a file is of a day at most
            if moved is not None and moved.first_ms < span.end_ms and moved.last_ms + _DAY_MS >= span.start_ms
        ]

    def within(self, span: Span) -> dict[str, list[Chosen]]:
        """Return the files in which events of a time may be."""
        return {
            stream: [file for file in files if file.first_ms < span.end_ms and file.last_ms >= span.start_ms]
            for stream, files in self.files.items()
        }

    def _chosen(self, file: StreamFile) -> Chosen:
        sidecar = None
        try:
            sidecar = sidecar_beside(self.place, file)
            self._note(file.stream, sidecar)
        except (ValueError, OSError) as error:
            self.problems.append(Problem(f"{file.name}.json", f"cannot be read: {error}"))
        first_ms = _ms(sidecar.first_received if sidecar else None, file.start_ms)
        # sidecars tell whole seconds
        last_ms = _ms(sidecar.last_received if sidecar else None, file.changed_ms) + _SECOND_MS - 1
        return Chosen(file, sidecar, first_ms, max(first_ms, last_ms))

    def _note(self, stream: str, sidecar: Sidecar | None) -> None:
        """Keep what changed only: each sidecar begins with the latest connection, which may have hundreds of words."""
        changes = self.history.setdefault(stream, [])
        for found in sidecar.connections if sidecar else ():
            last = changes[-1] if changes else None
            now = found if last is None else last.after(found)
            if last is None or not _is_same(now, last):
                changes.append(now)
        if sidecar:
            sidecar.connections = []


def _is_same(one: Connection, two: Connection) -> bool:
    """True when two connections ask for the same; the order in which rules are told means nothing."""
    if (one.type, one.url, one.filters) != (two.type, two.url, two.filters):
        return False
    return not (rules_without(one.rules, two.rules) or rules_without(two.rules, one.rules))


def _ms(moment: datetime | None, otherwise: int) -> int:
    return otherwise if moment is None else int(moment.timestamp() * 1000)


class Reader:
    """Reads files, goes on behind those that cannot be read, and notes them."""

    def __init__(self, place: Place, done: Callable[[Chosen], None]) -> None:
        self._place = place
        self._done = done
        self.problems: list[Problem] = []

    def merged(self, files: dict[str, list[Chosen]], span: Span) -> Iterator[Line]:
        """Yield the lines of several streams that were received within a time, in order of time."""
        ordered = (_in_order(self._stream(chosen, span)) for chosen in files.values())
        return (line for _, line in heapq.merge(*ordered, key=lambda pair: pair[0]))

    def raw(self, chosen: Chosen) -> Iterator[bytes]:
        """Yield the lines of a file, in its order."""
        try:
            with self._place.open(chosen.file.name) as file:
                hashed = Hashed(file)
                lines = Lines(hashed, chosen.file.form)
                count = 0
                for line in lines:
                    count += 1
                    yield line
                self._judge(chosen, lines, count, hashed)
        except (OSError, Damaged) as error:
            # a full disk of ours is no fault of the file: only what reading raises arrives here
            words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self.problems.append(Problem(chosen.file.name, f"cannot be read: {words}"))
        self._done(chosen)

    def _stream(self, files: list[Chosen], span: Span) -> Iterator[Line]:
        for chosen in files:
            received_ms = chosen.first_ms
            for raw in self.raw(chosen):
                shape = shape_of(raw)
                if shape.at_ms is not None:
                    received_ms = min(max(shape.at_ms, chosen.first_ms), chosen.last_ms)
                if span.start_ms <= received_ms < span.end_ms:
                    yield Line(chosen.file.stream, raw, shape, received_ms)

    def _judge(self, chosen: Chosen, lines: Lines, count: int, hashed: Hashed) -> None:
        sidecar, name = chosen.sidecar, chosen.file.name
        if lines.overlong:
            self.problems.append(Problem(name, f"lines longer than may be read: {lines.overlong:,}"))
        if sidecar is None:
            if lines.fault:
                words = f"{lines.fault}; it has no sidecar: it is still written, or its writer was killed"
                self.problems.append(Problem(name, words, is_known=True))
            return
        missing = 0 if sidecar.count is None else sidecar.count - count
        lost = f"; of {sidecar.count:,} events {missing:,} are missing" if missing > 0 else ""
        is_changed = sidecar.sha256 not in ("", hashed.sha256())
        if lines.fault:
            is_known = bool(sidecar.content.fault) and not lost and not is_changed
            self.problems.append(Problem(name, lines.fault + lost, is_known))
        elif is_changed:
            self.problems.append(Problem(name, f"its bytes are not those that its sidecar tells of{lost}"))


def _in_order(lines: Iterable[Line]) -> Iterator[tuple[int, Line]]:
    """Yield lines with a number that only grows: what merging needs, while clocks of events go back and forth."""
    latest = 0
    for line in lines:
        latest = max(latest, line.received_ms)
        yield latest, line
