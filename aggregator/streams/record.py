"""The stage `record`: the events of streams become files, each event once, with what is known about them beside."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
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
from aggregator.streams.recording.paths import gaps_path, possible_paths
from aggregator.streams.recording.sidecar import Facts, write_sidecar

_LATE_S = 5.0
"""How long after the end of its period a file waits for events that are still on their way."""
_CLOSING = "closing:"
_FILE = "file:"
_GAPS = "gaps:"
_MOST_GAPS = 1000
"""The most gaps and connections that a sidecar lists; all gaps stand in the stream's own file."""


class Open(msgspec.Struct):
    """A file that is written; as text it is the cursor of its stream."""

    path: str
    """The file below `directory`."""
    end: str
    """The cursor of the appended file: how far it is committed."""
    period_ms: int
    """When its period began; the file is of one period."""
    size_bytes: int
    """How much of the file is written."""
    facts: Facts


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
    traits = Traits(exclusive=True)

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        """What a section of this stage may say."""

        directory: Annotated[FilePath, Doc("the folder that gets a folder for each stream")] = "data/streams"
        save_interval: Annotated[Duration, Doc("a file is of so much time, in whole periods"), Bounds(1, 86400)] = 900.0
        save_size: Annotated[Size, Doc("a file of this size is finished earlier"), Bounds(1024)] = 512 * 1024**2
        format: Annotated[str, choice("gz", "zst"), Doc("how files are packed")] = "gz"
        mode: Annotated[FileMode, Doc("the mode of new files")] = 0o640
        pushto: Annotated[TargetQueue, Doc("the queue that is told of finished files")] | None = None

    settings: Settings

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self._directory = context.path(settings.directory)
        self._waiting: dict[str, list[Event | Gap | Connection]] = {}
        self._open: dict[str, tuple[Open, AppendedFile]] = {}
        self._closing: dict[str, tuple[str, Open, AppendedFile | None]] = {}
        """Files that are finished as soon as the commit is done: by cursor, with stream and file."""
        self._closed: list[tuple[str, Recorded]] = []
        """Files that are finished and not told yet, with their cursors."""
        self._gaps: dict[str, AppendedFile] = {}
        self._last: dict[str, Connection] = {}
        """What is asked for in each stream: it stands in the sidecar of the next file too."""

    def start(self) -> None:
        """Open the files that were open, and finish those that were about to be finished."""
        for name, text in self.context.cursors.items():
            if name.startswith(_GAPS):
                self._gaps[name.removeprefix(_GAPS)] = self._append_to(gaps_path(name.removeprefix(_GAPS)), text)
            elif name.startswith(_FILE):
                found = msgspec.json.decode(text, type=Open)
                stream = name.removeprefix(_FILE)
                self._open[stream] = (found, self._append_to(found.path, found.end))
            elif name.startswith(_CLOSING):
                found = msgspec.json.decode(text, type=Open)
                self._closing[name] = (found.facts.stream, found, None)
        for stream, (found, _) in self._open.items():
            if found.facts.connections:
                self._last[stream] = reduce(Connection.after, found.facts.connections)
        self.committed()

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Keep the message until `settle`."""
        found: Event | Gap | Connection = decode(message.raw, Event, Gap, Connection)  # type: ignore[assignment]
        self._waiting.setdefault(found.stream, []).append(found)
        return iter(())

    def settle(self, now: float) -> Iterator[Settled]:
        """Write what was kept, and finish what is over."""
        for stream, messages in self._waiting.items():
            yield from self._write(stream, messages)
        self._waiting.clear()
        yield from self.idle(now)

    def idle(self, now: float) -> Iterator[Settled]:
        """Finish the files whose period is over, and tell of those that are finished."""
        for cursor, recorded in self._closed:
            yield Cursor(cursor, None)
            if self.settings.pushto is not None:
                yield Send(self.settings.pushto, encode(recorded))
        self._closed.clear()
        over_ms = int((now - self.settings.save_interval - _LATE_S) * 1000)
        for stream, (found, _) in list(self._open.items()):
            if found.period_ms < over_ms:
                yield from self._finish(stream)

    def committed(self) -> None:
        """Write the sidecars of the files that are over."""
        for cursor, (_, found, file) in list(self._closing.items()):
            path = self._directory / found.path
            try:
                recorded = write_sidecar(path, found.facts, self.context)
            except OSError as error:
                raise Unavailable(f"cannot write the sidecar of {path}: {error.strerror or error}") from error
            if file is not None:
                file.finish()
            path.with_name(f".{path.name}.lock").unlink(missing_ok=True)
            del self._closing[cursor]
            self._closed.append((cursor, recorded))
            self.context.note(f"finished {found.facts.stream}", found.path)

    def stop(self) -> None:
        """Release the files; all that was written to them is committed."""
        for _, file in self._open.values():
            file.finish()
        for file in self._gaps.values():
            file.finish()

    def _write(self, stream: str, messages: list[Event | Gap | Connection]) -> Iterator[Settled]:
        gaps = [message for message in messages if isinstance(message, Gap)]
        if gaps:
            file = self._gaps.get(stream)
            if file is None:
                file = self._gaps[stream] = self._append_to(gaps_path(stream), None)
            yield Cursor(_GAPS + stream, file.append(b"".join(line_of(gap) for gap in gaps)))
        interval_ms = int(self.settings.save_interval * 1000)
        lines: list[bytes] = []
        for message in messages:
            if isinstance(message, Connection):
                last = self._last.get(stream)
                self._last[stream] = message if last is None else last.after(message)
            elif isinstance(message, Event):
                period_ms = message.received_ms // interval_ms * interval_ms
                known = self._open.get(stream)
                if known is not None and (
                    period_ms > known[0].period_ms or known[0].size_bytes >= self.settings.save_size
                ):
                    yield from self._append(stream, lines)
                    yield from self._finish(stream)
                    known = None
                if known is None:
                    self._begin(stream, message, period_ms)
                lines.append(line_of(message))
            self._note(stream, message)
        yield from self._append(stream, lines)

    def _begin(self, stream: str, first: Event, period_ms: int) -> None:
        facts = Facts(stream=stream, node=self.context.node, format=self.settings.format)
        if stream in self._last:
            facts.connections.append(self._last[stream])
        path, file = self._new_file(stream, first.received_ms)
        self._open[stream] = (Open(path, "", period_ms, 0, facts), file)

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
        known = self._open.get(stream)
        if known is None:
            return
        facts = known[0].facts
        if isinstance(message, Event):
            facts.add(message)
        elif isinstance(message, Gap) and len(facts.gaps) < _MOST_GAPS:
            facts.gaps.append(message)
        elif isinstance(message, Connection) and len(facts.connections) < _MOST_GAPS:
            facts.connections.append(message)

    def _append(self, stream: str, lines: list[bytes]) -> Iterator[Settled]:
        """Write lines, and yield how far the stream's file is written; the lines are forgotten."""
        known = self._open.get(stream)
        if known is None:
            return
        found, file = known
        if lines:
            data = pack(b"".join(lines), self.settings.format)
            found.end = file.append(data)
            found.size_bytes += len(data)
            lines.clear()
        yield Cursor(_FILE + stream, msgspec.json.encode(found).decode())

    def _finish(self, stream: str) -> Iterator[Settled]:
        """Note that a file is over; its sidecar is written once that is committed."""
        found, file = self._open.pop(stream)
        cursor = _CLOSING + found.path
        self._closing[cursor] = (stream, found, file)
        yield Cursor(_FILE + stream, None)
        yield Cursor(cursor, msgspec.json.encode(found).decode())

    def _append_to(self, path: str, committed: str | None) -> AppendedFile:
        file = AppendedFile(self._directory / path, self.settings.mode, self.context)
        file.acquire(committed)
        return file
