"""The stage `tail`: new lines of log files become messages."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import simplejson
from simplejson.encoder import encode_basestring_ascii

from aggregator.config.settings import Bounds, Doc, FilePath, Size, TargetQueue, Text, choice, parse_words
from aggregator.config.traits import Traits
from aggregator.files.names import name_of, text_of
from aggregator.logs.following.firstlook import FirstLook
from aggregator.logs.following.followedfile import FollowedFile
from aggregator.logs.following.knownfiles import KnownFiles
from aggregator.logs.following.lines import Taken
from aggregator.logs.following.listing import Folders
from aggregator.logs.following.pattern import Pattern
from aggregator.logs.following.position import Position
from aggregator.logs.following.readnotes import ReadNotes
from aggregator.logs.following.resume import SINCE, called_by, is_kept_by, take_up
from aggregator.logs.following.rotation import FollowedLog
from aggregator.logs.following.telling import Telling
from aggregator.logs.messages import LogLine
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Cursor, Emits, Former, Send, Source, SourceOutcome, SourceSettings

_TURNS = 10
"""The most batches that one poll yields, so that the worker gets to look at its signals."""


class Tail(Source):
    """Send each new line of the log files, once, in order, across rotation, truncation and kills.

    In: text files that match `logfile`, UTF-8 or not, lines ended by LF or CRLF.
    Out: `{"service": …, "logline": …}` on `pushto`, in this order; `logline` is the line without its end.
    Effect: none on the files; the position is committed with the lines, exactly once.
    Errors: a missing or unreadable file is tried again for ever and shows in `status`; bytes that are not valid UTF-8
    are kept as backslash escapes (counted `escaped`), lines over `maxline` are cut (counted `cut`), a run of NULs at a
    file's start is skipped (counted `nul`), a damaged compressed file is read as far as possible (counted `broken`).
    Source: docs/logs.md.
    """

    class Settings(SourceSettings, frozen=True, kw_only=True):
        """What a section of this stage may say."""

        logfile: Annotated[FilePath, Doc("the log file to follow: a path or a glob, or several with commas between")]
        servicename: Annotated[Text, Doc("the name of the service, for the `service` of each message")]
        pushto: Annotated[TargetQueue, Doc("the queue that gets the lines")]
        from_: Annotated[
            str,
            choice("start", "end"),
            Doc("where to begin in files that are there when this section runs for the first time"),
        ] = "start"
        maxline: Annotated[Size, Doc("longer lines are cut at so many bytes"), Bounds(256, 64 * 1024**2)] = 1024**2

    settings: Settings
    traits = Traits(exclusive=True, reads=("logfile",))
    emits: ClassVar[Emits] = {"pushto": (LogLine,)}

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self._patterns = [Pattern(text, context.root) for text in parse_words(settings.logfile)]
        self._folders = Folders(context)
        self._telling = Telling(context)
        self._moved: dict[str, str | None] = {}
        """Cursors to store because their names changed when the section started; None deletes a cursor."""
        self._logs: dict[str, FollowedLog] = {}
        self._ready: deque[FollowedLog] = deque()
        self._look_at = self._polled_at = 0.0
        message = simplejson.dumps({"service": settings.servicename, "logline": ""}, separators=(",", ":"))
        self._prefix = message.removesuffix('""}')

    @classmethod
    def belongings(cls, settings: Any, root: Path) -> tuple[str, ...]:
        """Return the real paths of the patterns.

        A section of another name that follows the same paths goes on from the cursors of a section that is gone.
        """
        patterns = [Pattern(text, root) for text in parse_words(settings.logfile)]
        names = {pattern.real for pattern in patterns}
        names |= {os.path.realpath(root / pattern.text) for pattern in patterns if not pattern.is_glob}
        return tuple(f"log:{text_of(name)}" for name in sorted(names))

    @classmethod
    def take_over(cls, settings: Any, root: Path, former: Former, own: Mapping[str, str]) -> Collection[str]:
        """Return the cursors of the files that this section follows now and the former section follows no more.

        A section that is renamed, split, merged with another, or given one of its files goes on where the former one
        stopped.
        """
        ours = [Pattern(text, root) for text in parse_words(settings.logfile)]
        kept = [Pattern(name_of(name.partition(":")[2]), root) for name in former.keeps or ()]
        known = {called_by(ours, name, text, root) for name, text in own.items()}
        whole = former.keeps is None and not own and set(former.belongings) <= set(cls.belongings(settings, root))
        found = []
        for name, text in former.cursors.items():
            called = called_by(ours, name, text, root)
            # a cursor whose path no pattern matches is taken only along with all others: its file may come back under
            # another path
            is_ours = whole if called is None else called not in known and not is_kept_by(kept, name, text, root)
            if is_ours:
                found.append(name)
        return found

    def start(self) -> None:
        """Load the positions that were committed before, however the paths of the files were spelt then."""
        self._notes = ReadNotes(self.context)
        self._known = KnownFiles(self._notes)
        taken_up = take_up(self.context.cursors, self._patterns, self.context.root)
        self._moved = taken_up.moved
        for name, known in taken_up.positions.items():
            self._logs[name] = self._log(name, known)
        left = [FollowedFile(position) for position in taken_up.left]
        for each in left:
            self._known.leave(each, left)

    def stop(self) -> None:
        """Write the note of what was read, all of which is committed, and close the files."""
        self._note(last=True)
        for log in self._logs.values():
            log.close()

    def poll(self, now: float) -> Iterator[SourceOutcome]:
        """Yield new lines, a batch from each file in turn."""
        self._polled_at = now
        self._note()  # the lines of earlier polls are committed by now
        if not self._ready or now >= self._look_at:
            yield from self._look(now)
        left = _TURNS * self.settings.batch
        while self._ready and left > 0:
            # order: first what a look has changed, because the worker may have broken that look off: no position may be
            # followed by an older one of the same file
            yield from _changes(self._ready[0])
            log = self._ready.popleft()
            found = log.take(self.settings.batch, self.settings.maxline, now)
            if found is not None:
                followed, taken = found
                yield from self._send(taken)
                self._count(followed, taken)
                followed.advance(taken)
                self._ready.append(log)
                yield Cursor(followed.position.name, followed.position.store())
                left -= len(taken.lines)
            yield from _changes(log)

    def _note(self, *, last: bool = False) -> None:
        if last or self._notes.due(len(self._logs), self._polled_at):
            self._notes.write([noted for log in self._logs.values() for noted in log.reading()], self._polled_at)

    def _send(self, taken: Taken) -> Iterator[Send]:
        queue, prefix = self.settings.pushto, self._prefix
        for line in taken.lines:
            try:
                text = line.decode()
            except UnicodeDecodeError:
                text = line.decode(errors="backslashreplace")
                self.context.count("escaped")
            # the same bytes as encode_body returns, in a third of the time
            yield Send(queue, f"{prefix}{encode_basestring_ascii(text)}}}".encode("ascii"))

    def _count(self, followed: FollowedFile, taken: Taken) -> None:
        if taken.cut:
            self.context.count("cut", taken.cut)
        if taken.begin > followed.position.offset:
            self.context.count("nul")

    # Which files there are

    def _look(self, now: float) -> Iterator[Cursor]:
        """Look at every file again; yield the positions that changed for another reason than reading."""
        self._look_at = now + self.settings.idletime
        self._folders.forget()
        self._known.forget()
        for log in self._logs.values():
            log.generations.claim()
        self._ready.clear()
        while self._moved:
            yield Cursor(*self._moved.popitem())
        for pattern in self._patterns:
            yield from self._look_at_pattern(pattern, now)
        self._telling.began_anew(self._known.again)
        self._telling.files(self._logs.values())

    def _look_at_pattern(self, pattern: Pattern, now: float) -> Iterator[Cursor]:
        first, first_look = pattern.since is None, self._first_look(pattern)
        logs = [log for name, log in self._logs.items() if pattern.covers(name)]
        # order: followed files first, so that a rotated file or a link's new target is not taken for a new log
        ready = [log for log in logs if log.look(now, first_look)]
        for name in pattern.fresh(self._logs, now):
            log = self._logs[name] = self._log(name)
            logs.append(log)
            if log.look(now, first_look):
                ready.append(log)
        self._ready.extend(ready)
        self._telling.follows_nothing(pattern, logs, now)
        for log in logs:
            yield from _changes(log)
            if pattern.is_glob and log.empty:
                del self._logs[name_of(log.name)]
        if first and not any(log.unsure for log in logs):
            pattern.since = now
            # order: the positions before the time of the first look, so that an interrupted first look is done again
            yield Cursor(SINCE + pattern.text, repr(now))

    def _first_look(self, pattern: Pattern) -> FirstLook:
        """Return where to begin with those paths of a pattern that have no stored position."""
        if pattern.since is not None:
            return FirstLook(pattern.since)
        if self.settings.from_ == "end":
            return FirstLook(at_end=True)
        # a log that changed since an earlier section looked here, for another Redis perhaps, is new
        looked_at = self._notes.last_look(lambda path: pattern.respell(path) is not None)
        return FirstLook() if looked_at is None else FirstLook(looked_at)

    def _log(self, name: str, positions: Iterable[Position] = ()) -> FollowedLog:
        matched = all(pattern.is_glob or pattern.text != name for pattern in self._patterns)
        return FollowedLog(
            self.context.path(name),
            text_of(name),
            self._folders,
            self._known,
            self.context,
            positions,
            matched=matched,
        )


def _changes(log: FollowedLog) -> Iterator[Cursor]:
    while log.generations.changed:
        name = next(iter(log.generations.changed))
        yield Cursor(name, log.generations.changed.pop(name))
