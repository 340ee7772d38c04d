"""The stage `record`: the events of streams become files, each event once, with what is known about them beside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

import msgspec

from aggregator.config.settings import Bounds, Doc, Duration, FileMode, FilePath, Size, TargetQueue, choice
from aggregator.config.traits import Traits
from aggregator.errors import Unavailable
from aggregator.files.appending import AppendedFile
from aggregator.runtime.context import Context
from aggregator.runtime.contract import ConsumerSettings, Cursor, Emits, Outcome, Send, Settled, Stage
from aggregator.runtime.kinds import decode, encode
from aggregator.runtime.message import Message
from aggregator.streams.messages import Connection, Event, Gap, Recorded
from aggregator.streams.recording.lines import line_of
from aggregator.streams.recording.packing import pack
from aggregator.streams.recording.paths import gaps_path, mark_of, possible_paths
from aggregator.streams.recording.sidecar import Facts, write_sidecar
from aggregator.streams.room import MIN_FREE, MinFree, Room

_LATE_S = 5.0
"""How long after the end of its period, and after its last event, a file waits for events that are on their way."""
_ASKED = "asked:"
_CLOSING = "closing:"
_FILE = "file:"
_GAPS = "gaps:"
_PROVENANCE = "provenance:"
_MOST_GAPS = 1000
"""The most gaps that a sidecar lists; all of them stand in the stream's own file."""
_MOST_CONNECTIONS = 1000
_MOST_TOLD_BYTES = 4 * 1024**2
"""A file of so many connections, or with so many bytes told of them beside the first, is finished: the next one begins
with what is asked for then."""


class Provenance(msgspec.Struct):
    """Where the events of the open file of a stream come from, and what is missing between them.

    As text it is a cursor of its own, because a thousand rules need not be written again with every commit.
    """

    gaps: list[Gap]
    connections: list[Connection]


class Open(msgspec.Struct):
    """A file that is written; as text, without its gaps and connections, it is the cursor of its stream."""

    path: str
    """The file below `directory`."""
    end: str
    """The cursor of the appended file: how far it is committed."""
    period_ms: int
    """When its period began; the file is of one period."""
    size_bytes: int
    """How much of the file is written."""
    facts: Facts
    begun_ms: int = 0
    """When it was begun, by our clock. A file that a version without this has begun is finished at once."""
    touched_ms: int = 0
    """When an event was added last, by our clock."""
    told_bytes: int = 0
    """The size of what is told of its connections beside the first."""


class Record(Stage):
    """Write the events of streams into files of one period each, exactly once, with a sidecar for each file.

    In: events, gaps and connections of `capture` or `match`, of any number of streams.
    Out: `{"kind": "recorded", "stream": …, "file": …, "sidecar": …}` on `pushto` for each finished file.
    Effect: `directory/STREAM/yyyy/mm/dd/hh/STREAM-yyyy-mm-ddTHH-MM-SSZ.jsonl.gz` has each event on a line of its own,
    in the platform's bytes; it consists of whole gzip members (or zstd frames), is synced before each commit, and is
    cut back to its committed length after a crash. `.json` beside a finished file says what is in it, and
    `directory/STREAM/STREAM.gaps.jsonl` has all gaps.
    Errors: what is no such message is set aside; a full disk pauses the worker.
    Source: docs/streams.md.
    """

    accepts = (Event, Gap, Connection)
    emits: ClassVar[Emits] = {"pushto": (Recorded,)}
    traits = Traits(exclusive=True, names_files=True)

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        """What a section of this stage may say."""

        directory: Annotated[FilePath, Doc("the folder that gets a folder for each stream")] = "data/streams"
        save_interval: Annotated[Duration, Doc("a file is of so much time, in whole periods"), Bounds(1, 86400)] = 900.0
        save_size: Annotated[Size, Doc("a file of this size is finished earlier"), Bounds(1024)] = 512 * 1024**2
        format: Annotated[str, choice("gz", "zst"), Doc("how files are packed")] = "gz"
        mode: Annotated[FileMode, Doc("the mode of new files")] = 0o640
        min_free: MinFree = MIN_FREE
        pushto: Annotated[TargetQueue, Doc("the queue that is told of finished files")] | None = None

    settings: Settings

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self._directory = context.path(settings.directory)
        self._room = Room(self._directory, settings.min_free, context)
        self._waiting: dict[str, list[Event | Gap | Connection]] = {}
        """What is in hand and not written, by stream."""
        self._waiting_gaps: dict[str, list[Gap]] = {}
        """The gaps in hand that are not in the stream's own file yet."""
        self._settled: list[Settled] = []
        """What is written and waits for the rest to be written, so that one commit covers everything."""
        self._open: dict[str, tuple[Open, AppendedFile]] = {}
        self._closing: dict[str, tuple[str, Open, AppendedFile | None]] = {}
        """Files that are finished as soon as the commit is done: by cursor, with stream and file."""
        self._closed: list[tuple[str, Recorded | None]] = []
        """Files that are finished and not told yet, with their cursors; None for one that needs not be told."""
        self._gaps: dict[str, AppendedFile] = {}
        self._last: dict[str, Connection] = {}
        """What is asked for in each stream: it stands in the sidecar of the next file too."""
        self._before: dict[str, Connection] = {}
        """What was asked for in each stream before its newest connection."""
        self._asked: set[str] = set()
        """The streams in which something else is asked for since the last commit."""
        self._changed: set[str] = set()
        """The streams whose open files have got a gap or a connection since the last commit."""

    def start(self) -> None:
        """Open the files that were open, and finish those that were about to be finished."""
        cursors = self.context.cursors
        for name, text in cursors.items():
            if name.startswith(_ASKED):
                self._last[name.removeprefix(_ASKED)] = msgspec.json.decode(text, type=Connection)
            elif name.startswith(_GAPS):
                self._gaps[name.removeprefix(_GAPS)] = self._append_to(gaps_path(name.removeprefix(_GAPS)), text)
            elif name.startswith(_FILE):
                found = msgspec.json.decode(text, type=Open)
                stream = name.removeprefix(_FILE)
                if _PROVENANCE + stream in cursors:
                    known = msgspec.json.decode(cursors[_PROVENANCE + stream], type=Provenance)
                    found.facts.gaps, found.facts.connections = known.gaps, known.connections
                    if (before := _folded(known.connections[:-1])) is not None:
                        self._before[stream] = before
                self._open[stream] = (found, self._append_to(found.path, found.end))
            elif name.startswith(_CLOSING):
                found = msgspec.json.decode(text, type=Open)
                self._closing[name] = (found.facts.stream, found, None)
        self.committed()

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Keep the message until `settle`."""
        found: Event | Gap | Connection = decode(message.raw, Event, Gap, Connection)  # type: ignore[assignment]
        self._waiting.setdefault(found.stream, []).append(found)
        if isinstance(found, Gap):
            self._waiting_gaps.setdefault(found.stream, []).append(found)
        return iter(())

    def settle(self, now: float) -> Iterator[Settled]:
        """Write what was kept, and finish what is over.

        Each write is taken off the lists once it is done: after one that failed this is called again for the rest.
        """
        for stream in list(self._waiting_gaps):
            self._write_gaps(stream)
        for stream in list(self._waiting):
            while self._waiting[stream]:
                self._write_some(stream)
            del self._waiting[stream]
        yield from self.idle(now)

    def idle(self, now: float) -> Iterator[Settled]:
        """Finish the files whose period is over, and tell of those that are finished."""
        self._room.look(now)
        for cursor, recorded in self._closed:
            yield Cursor(cursor, None)
            if self.settings.pushto is not None and recorded is not None:
                yield Send(self.settings.pushto, encode(recorded))
        self._closed.clear()
        for stream, (found, _) in list(self._open.items()):
            if self._is_over(found, int(now * 1000)):
                self._finish(stream)
        settled, self._settled = self._settled, []
        yield from settled

    def committed(self) -> None:
        """Write the sidecars of the files that are over."""
        for cursor, (_, found, file) in list(self._closing.items()):
            path = self._directory / found.path
            try:
                recorded = write_sidecar(path, found.facts, self.context)
            except FileNotFoundError as error:
                # a process that was killed had finished the file, and `archive` has found and removed it since
                if not mark_of(path).exists():
                    raise Unavailable(f"{path} was removed before it was finished", 60.0) from error
                recorded = None
            except OSError as error:
                raise Unavailable(f"cannot write the sidecar of {path}: {error.strerror or error}") from error
            if file is not None:
                file.finish()
            path.with_name(f".{path.name}.lock").unlink(missing_ok=True)
            del self._closing[cursor]
            self._closed.append((cursor, recorded))
            self.context.note(f"finished {found.facts.stream}", found.path)

    def stop(self) -> None:
        """Release the files. What was written and not committed is taken back at the next start."""
        for file in (*(file for _, file in self._open.values()), *self._gaps.values()):
            if self._settled:
                file.release()
            else:
                file.finish()
        for _, _, closing in self._closing.values():
            if closing is not None:
                closing.release()

    def _write_gaps(self, stream: str) -> None:
        file = self._gaps.get(stream)
        if file is None:
            file = self._gaps[stream] = self._append_to(gaps_path(stream), None)
        end = file.append(b"".join(map(line_of, self._waiting_gaps[stream])))
        del self._waiting_gaps[stream]
        self._settled.append(Cursor(_GAPS + stream, end))

    def _write_some(self, stream: str) -> None:
        """Write the first of a stream's messages: all that belong to the same file."""
        messages = self._waiting[stream]
        begin = next((n for n, message in enumerate(messages) if isinstance(message, Event)), len(messages))
        if begin:
            self._take_off(stream, begin)
            return
        first = messages[0]
        assert isinstance(first, Event)
        known = self._open.get(stream)
        period_ms = self._period_ms(first)
        if known is not None and (period_ms > known[0].period_ms or known[0].size_bytes >= self.settings.save_size):
            self._finish(stream)
            known = None
        found, file = known or self._begin(stream, first, period_ms)
        end, lines = 0, []
        for message in messages:
            if isinstance(message, Event):
                if self._period_ms(message) > found.period_ms:
                    break
                lines.append(line_of(message))
            end += 1
        data = pack(b"".join(lines), self.settings.format)
        found.end = file.append(data)
        found.size_bytes += len(data)
        found.touched_ms = int(self.context.clock() * 1000)
        self._take_off(stream, end)

    def _is_over(self, found: Open, now_ms: int) -> bool:
        """True for a file whose period is over, and that is not being filled at this moment; or with a full sidecar.

        While a backlog is recorded, the period of each file has long been over. A file that was begun a whole period
        ago is finished in any case, so that an event with a time in the future holds up no other. By absolute
        differences, because a clock that was ahead is set back.
        """
        interval_ms, late_ms = int(self.settings.save_interval * 1000), int(_LATE_S * 1000)
        is_left = abs(now_ms - found.touched_ms) > late_ms and now_ms - found.period_ms > interval_ms + late_ms
        is_told = found.told_bytes >= _MOST_TOLD_BYTES or len(found.facts.connections) >= _MOST_CONNECTIONS
        return is_left or is_told or abs(now_ms - found.begun_ms) > interval_ms + late_ms

    def _period_ms(self, event: Event) -> int:
        interval_ms = int(self.settings.save_interval * 1000)
        return event.received_ms // interval_ms * interval_ms

    def _take_off(self, stream: str, number: int) -> None:
        """Note the first of a stream's messages, which are written as far as they are events, and forget them."""
        messages = self._waiting[stream]
        for message in messages[:number]:
            self._note(stream, message)
        del messages[:number]
        self._settle_file(stream)

    def _begin(self, stream: str, first: Event, period_ms: int) -> tuple[Open, AppendedFile]:
        facts = Facts(stream=stream, node=self.context.node, format=self.settings.format)
        if stream in self._last:
            facts.connections.append(self._last[stream])
            self._changed.add(stream)
        path, file = self._new_file(stream, first.received_ms)
        now_ms = int(self.context.clock() * 1000)
        self._open[stream] = (Open(path, "", period_ms, 0, facts, now_ms, now_ms), file)
        return self._open[stream]

    def _new_file(self, stream: str, moment_ms: int) -> tuple[str, AppendedFile]:
        """Return an empty file.

        A file that is there already was begun by a process that crashed before its first commit. The messages come
        again, the first of them gives the file the same name, and what was written is taken back.
        """
        taken = {found.path for found, _ in self._open.values()} | {
            found.path for _, found, _ in self._closing.values()
        }
        for path in possible_paths(self._directory, stream, moment_ms, self.settings.format):
            name = str(path.relative_to(self._directory))
            if name in taken:
                continue
            file = self._append_to(name, None)
            if not path.exists() or not path.stat().st_size:
                return name, file
            file.release()
        raise AssertionError("there is always another name")

    def _note(self, stream: str, message: Event | Gap | Connection) -> None:
        if isinstance(message, Connection):
            self._note_connection(stream, message)
            return
        known = self._open.get(stream)
        if known is None:
            return
        facts = known[0].facts
        if isinstance(message, Event):
            facts.add(message)
        elif len(facts.gaps) < _MOST_GAPS:
            facts.gaps.append(message)
            self._changed.add(stream)

    def _note_connection(self, stream: str, message: Connection) -> None:
        """Keep what is asked for, and for the sidecar what is told of it: only the difference where that is less.

        A connection with many rules comes in parts of one time; together they are told as one.
        """
        last = self._last.get(stream)
        is_part = last is not None and message.continues and message.at_ms == last.at_ms
        if last is not None and not is_part:
            self._before[stream] = last
        now = self._last[stream] = message if last is None else last.after(message)
        self._asked.add(stream)
        if stream not in self._open:
            return
        found, _ = self._open[stream]
        told = found.facts.connections
        if is_part and told and told[-1].at_ms == message.at_ms:
            before = told.pop()
            found.told_bytes -= before.size_bytes if told else 0
        if not told:
            told.append(now)
        else:
            told.append(message if message.continues and not is_part else now.told_after(self._before[stream]))
            found.told_bytes += told[-1].size_bytes
        self._changed.add(stream)

    def _settle_file(self, stream: str) -> None:
        """Keep for the commit what is asked for, how far the open file is written, and what is known of it."""
        if stream in self._asked:
            self._asked.discard(stream)
            self._settled.append(Cursor(_ASKED + stream, msgspec.json.encode(self._last[stream]).decode()))
        if stream not in self._open:
            return
        found, _ = self._open[stream]
        if stream in self._changed:
            self._changed.discard(stream)
            known = Provenance(found.facts.gaps, found.facts.connections)
            self._settled.append(Cursor(_PROVENANCE + stream, msgspec.json.encode(known).decode()))
        short = msgspec.structs.replace(found, facts=msgspec.structs.replace(found.facts, gaps=[], connections=[]))
        self._settled.append(Cursor(_FILE + stream, msgspec.json.encode(short).decode()))

    def _finish(self, stream: str) -> None:
        """Keep for the commit that a file is over; its sidecar is written once that is committed."""
        found, file = self._open.pop(stream)
        cursor = _CLOSING + found.path
        self._closing[cursor] = (stream, found, file)
        self._changed.discard(stream)
        self._settled += [
            Cursor(_FILE + stream, None),
            Cursor(_PROVENANCE + stream, None),
            Cursor(cursor, msgspec.json.encode(found).decode()),
        ]

    def _append_to(self, path: str, committed: str | None) -> AppendedFile:
        file = AppendedFile(self._directory / path, self.settings.mode, self.context)
        file.acquire(committed)
        return file


def _folded(connections: list[Connection]) -> Connection | None:
    """Return what was asked for after the last of several connections; None without any."""
    found: Connection | None = None
    for connection in connections:
        found = connection if found is None else found.after(connection)
    return found
