"""What is missing of a stream in a span of time: how long, how much as far as known, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from aggregator.config.configuration import Config
from aggregator.config.programs import is_disabled
from aggregator.streams.aliveness import read_aliveness
from aggregator.streams.managing.options import PREFIX
from aggregator.streams.messages import Gap
from aggregator.streams.platforms.table import PLATFORMS
from aggregator.streams.query.recorded import directories, read_files, read_gaps, recorded_streams
from aggregator.streams.reading.places import Place, gaps_of, sidecar_beside

_SIGN_MS = 15_000
"""The note of a running stream is newer than this: it is written every second."""


class Span(NamedTuple):
    """A time in Unix milliseconds; the end is not included."""

    start_ms: int
    end_ms: int


class Cause(NamedTuple):
    """The gaps of one cause."""

    number: int
    missing_ms: int
    """How much time they cover together."""
    lost: int
    """How many events are missing as far as is known."""


class Missing(NamedTuple):
    """What is missing of one stream in a span."""

    stream: str
    span: Span
    """The part of the span in which the stream was captured, as far as is known; empty when it was not."""
    gaps: list[Gap]
    """The gaps that lie in the span at least in part, in the order of their beginnings."""
    is_open: bool
    """True when the last gap lasts still: it is in no file yet."""
    unreadable: int
    """How many lines of its file are no gaps."""

    @property
    def missing_ms(self) -> int:
        """How much time the gaps cover together within the span."""
        return covered_ms(self.gaps, self.span)

    @property
    def lost(self) -> int:
        """How many events are missing as far as is known; most gaps do not say it."""
        return sum(gap.lost or 0 for gap in self.gaps)

    @property
    def complete(self) -> float | None:
        """The share of the time in which nothing was missing; None when the stream was not captured then."""
        length = self.span.end_ms - self.span.start_ms
        return 1 - self.missing_ms / length if length > 0 else None

    def causes(self) -> Mapping[str, Cause]:
        """Return the gaps by their causes, the longest time first."""
        found = {}
        for cause in dict.fromkeys(gap.cause for gap in self.gaps):
            gaps = [gap for gap in self.gaps if gap.cause == cause]
            found[cause] = Cause(len(gaps), covered_ms(gaps, self.span), sum(gap.lost or 0 for gap in gaps))
        return dict(sorted(found.items(), key=lambda item: -item[1].missing_ms))


def covered_ms(gaps: Iterable[Gap], span: Span) -> int:
    """Return how much of a span gaps cover; where several overlap, the time counts once. They are in order."""
    total, end = 0, span.start_ms
    for gap in gaps:
        begin, until = max(gap.from_ms, end), min(gap.to_ms, span.end_ms)
        if until > begin:
            total += until - begin
            end = until
    return total


def known_streams(config: Config) -> list[str]:
    """Return the streams that are configured, and those of which something is recorded."""
    configured = [section.removeprefix(PREFIX) for section in config.texts if section.startswith(PREFIX)]
    return sorted({*configured, *recorded_streams(directories(config))})


def look(config: Config, streams: Iterable[str], span: Span, now_ms: int) -> Iterator[Missing]:
    """Yield what is missing of each stream in a span. Raises OSError."""
    for stream in streams:
        yield _missing(config, stream, span, now_ms)


def look_in(place: Place, streams: Iterable[str], span: Span) -> Iterator[Missing]:
    """Yield what is missing of each stream in a span, as a store tells it. Raises what the place raises."""
    for stream in streams:
        found = list(gaps_of(place, stream))
        gaps = sorted((gap for gap in found if gap is not None), key=lambda gap: (gap.from_ms, gap.to_ms))
        captured = _captured_in(place, stream, gaps)
        yield Missing(stream, _within(captured, span), _inside(gaps, span), False, found.count(None))


def _captured_in(place: Place, stream: str, gaps: list[Gap]) -> Span:
    """Return from when to when a stream was captured, as far as a place tells."""
    files = place.files(stream)
    moments = [moment for gap in gaps for moment in (gap.from_ms, gap.to_ms)]
    moments += [file.start_ms for file in (*files[:1], *files[-1:])]
    with suppress(ValueError):
        said = sidecar_beside(place, files[-1]) if files else None
        moments += [int(said.last_received.timestamp() * 1000)] if said and said.last_received else []
    return Span(min(moments), max(moments)) if moments else Span(0, 0)


def _inside(gaps: Iterable[Gap], span: Span) -> list[Gap]:
    # the end of a gap that is a single moment counts as inside
    return [gap for gap in gaps if gap.from_ms < span.end_ms and gap.to_ms >= span.start_ms]


def _within(captured: Span, span: Span) -> Span:
    start_ms, end_ms = max(span.start_ms, captured.start_ms), min(span.end_ms, captured.end_ms)
    return Span(start_ms, max(start_ms, end_ms))


def _missing(config: Config, stream: str, span: Span, now_ms: int) -> Missing:
    folders = directories(config)
    gaps, unreadable = read_gaps(folders, stream)
    last = _lasting(config, stream, now_ms)
    gaps += [last] if last is not None else []
    inside = _inside(gaps, span)
    known = _within(_captured(config.root, folders, stream, gaps), span)
    return Missing(stream, known, inside, last is not None and last in inside, unreadable)


def _lasting(config: Config, stream: str, now_ms: int) -> Gap | None:
    """Return the gap of a stream that should run and is not connected; it is recorded only when it ends."""
    section = f"{PREFIX}{stream}"
    texts = config.texts.get(section)
    note = read_aliveness(_note(config.root, stream))
    if texts is None or is_disabled(texts) or note is None or note.complete_ms > now_ms:
        return None
    platform = PLATFORMS.get(texts.get("type", "").strip())
    if platform is not None and platform.promise_s and now_ms - note.complete_ms <= platform.promise_s * 1000:
        return None  # what is missing now comes with the next connection
    if not note.cause and now_ms - note.complete_ms < _SIGN_MS:
        return None
    cause = note.cause or "silent"
    return Gap(stream=stream, from_ms=note.complete_ms, to_ms=now_ms, cause=cause, detail="it lasts still")


def _captured(root: Path, folders: list[Path], stream: str, gaps: list[Gap]) -> Span:
    """Return from when to when a stream was captured, as far as the disk tells."""
    first_ms, note = read_files(folders, stream).first_ms, read_aliveness(_note(root, stream))
    moments = [moment for gap in gaps for moment in (gap.from_ms, gap.to_ms)]
    moments += [first_ms] if first_ms is not None else []
    moments += [note.complete_ms] if note is not None else []
    return Span(min(moments), max(moments)) if moments else Span(0, 0)


def _note(root: Path, stream: str) -> Path:
    return root / "data/streams" / f".{stream}.alive"
