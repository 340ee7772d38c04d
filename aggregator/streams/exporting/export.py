"""Export what was recorded of streams, in order of time, with a README that says what it is and what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from aggregator.streams.exporting.deletions import Deletions
from aggregator.streams.exporting.forms import reason_against
from aggregator.streams.exporting.notes import Notes
from aggregator.streams.exporting.readme import Told, readme_of
from aggregator.streams.exporting.selection import Catalogue, Chosen, Line, Problem, Reader
from aggregator.streams.exporting.target import Target, Written
from aggregator.streams.messages import YEAR_10000_MS, Gap
from aggregator.streams.reading.events import shape_of
from aggregator.streams.reading.places import gaps_of
from aggregator.streams.times import Span

ALWAYS = Span(0, YEAR_10000_MS)


class Wanted(NamedTuple):
    """What an export is of."""

    form: str
    span: Span | None = None
    """None = all there is."""
    is_deduped: bool = False
    honours_deletions: bool = False


class Exported(NamedTuple):
    """What an export came to."""

    files: int
    read: int
    exported: int
    left_out: dict[str, int]
    changed: int
    gaps: int
    parts: list[Written]
    problems: list[Problem]


class Export:
    """One export. `items` is the work there is, for a progress bar; it is known before `run`."""

    def __init__(self, catalogue: Catalogue, wanted: Wanted, settings: dict[str, str]) -> None:
        self._catalogue = catalogue
        self._wanted = wanted
        self._settings = settings
        self._span = wanted.span or ALWAYS
        self._files = catalogue.within(self._span)
        # a post may be taken back long after the time that is exported
        later = catalogue.within(Span(self._span.start_ms, ALWAYS.end_ms))
        self._noticed = [file for files in later.values() for file in files] if wanted.honours_deletions else []
        self._read: Counter[str] = Counter()
        self._exported: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._changed = 0

    @property
    def files(self) -> int:
        """How many files the events are in."""
        return sum(map(len, self._files.values()))

    @property
    def items(self) -> list[Chosen]:
        """The files that are read, each as often as it is read."""
        return [*self._noticed, *(file for files in self._files.values() for file in files)]

    def run(self, target: Target, done: Callable[[Chosen], None]) -> Exported:
        """Write the export. Raises OSError and AggregatorError, having written nothing."""
        reader = Reader(self._catalogue.place, done)
        try:
            target.begin()
            with Notes() as notes:
                deletions = self._deletions(notes, done)
                for line in reader.merged(self._files, self._span):
                    self._one(line, notes, deletions, target)
            problems = [*self._catalogue.moved(self._span), *self._catalogue.problems, *reader.problems]
            gaps = {stream: self._gaps(stream, problems) for stream in self._files}
            told = self._told(gaps, problems)
            target.finish(lambda parts: readme_of(told, parts))
        finally:
            target.discard()
        return Exported(
            self.files,
            self._read.total(),
            self._exported.total(),
            dict(self._left_out),
            self._changed,
            sum(map(len, gaps.values())),
            target.parts,
            problems,
        )

    def _deletions(self, notes: Notes, done: Callable[[Chosen], None]) -> Deletions | None:
        if not self._wanted.honours_deletions:
            return None
        deletions = Deletions(notes)
        # what cannot be read of files of the export is told when they are exported
        reader = Reader(self._catalogue.place, done)
        for chosen in self._noticed:
            for raw in reader.raw(chosen):
                deletions.note(raw)
        exported = {file.file.name for files in self._files.values() for file in files}
        self._catalogue.problems += [problem for problem in reader.problems if problem.file not in exported]
        return deletions

    def _one(self, line: Line, notes: Notes, deletions: Deletions | None, target: Target) -> None:
        self._read[line.stream] += 1
        reason = reason_against(line, self._wanted.form)
        if not reason and deletions is not None:
            fate = deletions.fate_of(line.raw, line.shape)
            if fate.line is None:
                reason = fate.reason
            elif fate.reason:
                self._changed += 1
                line = line._replace(raw=fate.line, shape=shape_of(fate.line))
        if not reason and self._wanted.is_deduped and not self._is_new(line, notes):
            reason = "duplicate"
        if reason:
            self._left_out[reason] += 1
            return
        target.write(line)
        self._exported[line.stream] += 1

    def _is_new(self, line: Line, notes: Notes) -> bool:
        # an edit is an event of its own, but a list of ids has each id once
        key = f"id {line.shape.id}" if self._wanted.form == "ids" else line.shape.key
        return not key or notes.is_new(key)

    def _gaps(self, stream: str, problems: list[Problem]) -> list[Gap]:
        span = self._span
        try:
            found = list(gaps_of(self._catalogue.place, stream))
        except OSError as error:
            problems.append(Problem(f"the gaps of {stream}", f"cannot be read: {error.strerror or error}"))
            return []
        gaps = [gap for gap in found if gap is not None]
        if len(gaps) < len(found):
            words = f"{len(found) - len(gaps):,} lines cannot be read"
            problems.append(Problem(f"the gaps of {stream}", words))
        inside = (gap for gap in gaps if gap.from_ms < span.end_ms and gap.to_ms >= span.start_ms)
        return sorted(inside, key=lambda gap: gap.from_ms)

    def _told(self, gaps: dict[str, list[Gap]], problems: list[Problem]) -> Told:
        return Told(
            settings=self._settings,
            span=self._wanted.span,
            files=self._files,
            history=self._catalogue.history,
            gaps=gaps,
            read=self._read,
            exported=self._exported,
            left_out=self._left_out,
            changed=self._changed,
            problems=problems,
            form=self._wanted.form,
        )
