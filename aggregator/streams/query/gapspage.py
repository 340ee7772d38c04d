"""The gaps of streams as one HTML page: a row for each stream, a column for each hour or day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from aggregator.monitor import heatmap
from aggregator.monitor.heatmap import Cell, Page, Row, utc
from aggregator.monitor.words import age, one_line
from aggregator.streams.messages import Gap
from aggregator.streams.query.gaps import Missing, covered_ms
from aggregator.streams.times import Span

HOUR_S, DAY_S = 3600, 86400
_MOST_HOURS = 14 * 24
"""A longer time is drawn by days: more columns fit no screen."""
_TOLD = 8
"""How many gaps a cell describes."""
_INTRODUCTION = (
    "A cell is a clock {} in UTC: the share of it in which nothing was missing. What a platform withheld, and what was "
    "too large, is told beside it. Point at one for its gaps."
)


def render(streams: Sequence[Missing], title: str, made_at: float) -> Iterator[str]:
    """Yield the HTML page in pieces."""
    spans = [stream.span for stream in streams if stream.span.end_ms > stream.span.start_ms]
    starts: list[int] = []
    step = HOUR_S
    if spans:
        begin, end = min(span.start_ms for span in spans) // 1000, -(-max(span.end_ms for span in spans) // 1000)
        step = HOUR_S if end - begin <= _MOST_HOURS * HOUR_S else DAY_S
        starts = list(range(begin // step * step, end, step))
    group = (lambda start: utc(start).date()) if step == HOUR_S else (lambda start: f"{utc(start):%Y-%m}")
    word = "hour" if step == HOUR_S else "day"
    page = Page(title, _INTRODUCTION.format(word), "stream", starts, group, made_at)
    yield from heatmap.render(page, (_row(stream, starts, step) for stream in streams), _totals(streams))


def _row(stream: Missing, starts: Sequence[int], step: int) -> Row:
    cells, touched = {}, _gaps_by_cell(stream, starts, step)
    for start in starts:
        span = Span(max(start * 1000, stream.span.start_ms), min((start + step) * 1000, stream.span.end_ms))
        if span.end_ms > span.start_ms:
            cells[start] = _cell(touched.get(start, []), start, span, step)
    return Row(stream.stream, stream.complete, cells)


def _gaps_by_cell(stream: Missing, starts: Sequence[int], step: int) -> dict[int, list[Gap]]:
    """Return the gaps that touch each cell: to look at all gaps for each cell would take minutes for a bad year."""
    found: dict[int, list[Gap]] = {}
    for gap in stream.gaps if starts else ():
        first = max(gap.from_ms // 1000 // step * step, starts[0])
        for start in range(first, min(gap.to_ms // 1000, starts[-1]) + 1, step):
            found.setdefault(start, []).append(gap)
    return found


def _cell(gaps: Sequence[Gap], start: int, span: Span, step: int) -> Cell:
    missing_ms = covered_ms(gaps, span)
    form = "%Y-%m-%d %H:%M UTC" if step == HOUR_S else "%Y-%m-%d"
    lines = [f"{utc(start):{form}}"]
    lines.append(f"missing: {age(missing_ms / 1000)}" if missing_ms else "no time is missing")
    for gap in gaps[:_TOLD]:
        lost = f", {gap.lost:,} lost" if gap.lost else ""
        lasted = age((gap.to_ms - gap.from_ms) / 1000)
        lines.append(f"{utc(gap.from_ms / 1000):%H:%M:%S} {gap.cause}, {lasted}{lost}: {one_line(gap.detail, 100)}")
    if len(gaps) > _TOLD:
        lines.append(f"and {len(gaps) - _TOLD:,} more")
    return Cell(1 - missing_ms / (span.end_ms - span.start_ms), "\n".join(line.rstrip(": ") for line in lines))


def _totals(streams: Sequence[Missing]) -> str:
    """Return the table of all gaps by their causes."""
    rows = "".join(
        f'<tr><th scope="row">{escape(stream.stream)}</th><th>{escape(name)}</th><th>{cause.number:,}</th>'
        f"<th>{age(cause.missing_ms / 1000)}</th><th>{cause.lost:,}</th></tr>\n"
        for stream in streams
        for name, cause in stream.causes().items()
    )
    head = "<tr><th>stream</th><th>cause</th><th>gaps</th><th>missing</th><th>lost, as far as known</th></tr>"
    return f"<h2>Causes</h2>\n<table>\n<thead>{head}</thead>\n<tbody>\n{rows}</tbody>\n</table>\n" if rows else ""
