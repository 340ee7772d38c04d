"""Show coverage as one HTML page: a row for each feed, a column for each hour. The page loads no other files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from aggregator.config.hints import counted
from aggregator.feeds.bundle.manifest import OUTCOMES
from aggregator.feeds.query.coverage import HOUR_S, Coverage, Gap, Hour
from aggregator.monitor import heatmap
from aggregator.monitor.heatmap import Cell, Page, Row, percent, utc

_INTRODUCTION = (
    "A cell is a clock hour in UTC: the share of its planned downloads that show what the feed was then. Point at one "
    "for its numbers."
)


def render(coverages: Sequence[Coverage], title: str, made_at: float) -> Iterator[str]:
    """Yield the HTML page in pieces."""
    hours = sorted({hour.start for coverage in coverages for hour in coverage.hours})
    if hours:
        hours = list(range(hours[0], hours[-1] + HOUR_S, HOUR_S))
    page = Page(title, _INTRODUCTION, "feed", hours, lambda hour: utc(hour).date(), made_at)
    yield from heatmap.render(page, map(_row, coverages), _problems(coverages))


def _row(coverage: Coverage) -> Row:
    cells = {hour.start: Cell(hour.completeness, describe(hour)) for hour in coverage.hours}
    return Row(coverage.feed, coverage.completeness, cells)


def _problems(coverages: Iterable[Coverage]) -> str:
    lines = [f"{coverage.feed}: {problem}" for coverage in coverages for problem in coverage.problems]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h2>Could not be read</h2>\n<ul>{items}</ul>\n" if lines else ""


def describe(hour: Hour) -> str:
    """Return a description of an hour, in lines."""
    lines = [f"{utc(hour.start):%Y-%m-%d %H:%M} UTC"]
    if hour.expected is None:
        lines.append("an archive without a manifest: what was missed is not known")
    else:
        lines.append(f"{percent(hour.completeness or 0.0)} of {hour.expected:,} planned downloads")
        lines.append(", ".join(f"{count:,} {name}" for name, count in counts_of(hour).items() if count))
    lines.append(counted(hour.publications, "publication"))
    if hour.gap:
        lines.append(f"longest gap {_gap(hour.gap)}")
    return "\n".join(line for line in lines if line)


def counts_of(hour: Hour) -> dict[str, int]:
    """Return how many planned ticks had each outcome, and how many have no record."""
    return {**{outcome: hour.outcomes[outcome] for outcome in OUTCOMES}, "unrecorded": hour.unrecorded}


def _gap(gap: Gap) -> str:
    return f"{gap.seconds:,.0f} s from {utc(gap.start_ms // 1000):%H:%M:%S}: {gap.cause}"
