"""Show coverage as one HTML page: a row for each feed, a column for each hour. The page loads no other files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from html import escape
from itertools import groupby

from aggregator.config.hints import counted
from aggregator.feeds.bundle.manifest import OUTCOMES
from aggregator.feeds.query.coverage import HOUR_S, Coverage, Gap, Hour

_STEPS = ((1.0, "full"), (0.99, "high"), (0.9, "good"), (0.5, "half"), (0.000001, "low"), (0.0, "none"))
_LEGEND = (
    ("full", "all"),
    ("high", "99 %"),
    ("good", "90 %"),
    ("half", "50 %"),
    ("low", "less"),
    ("none", "nothing"),
    ("unknown", "not known"),
)

# From blue over pale to red, so that colour-blind readers can tell the colours apart.
_STYLE = """
:root{color-scheme:light dark;--page:#fff;--text:#1a1a1a;--dim:#666;--line:#ddd;--tip:#fff;
--full:#2166ac;--high:#67a9cf;--good:#d1e5f0;--half:#fddbc7;--low:#ef8a62;--none:#b2182b;--unknown:#bbb}
@media(prefers-color-scheme:dark){:root{--page:#14171a;--text:#e6e6e6;--dim:#9a9a9a;--line:#333;--tip:#22272b;
--full:#4393c3;--high:#2f6f9f;--good:#35566b;--half:#8a6a4a;--low:#d6604d;--none:#e0303f;--unknown:#555}}
body{margin:2em;background:var(--page);color:var(--text);font:14px/1.4 system-ui,sans-serif}
h1{font-size:1.3em}p{color:var(--dim)}
table{border-collapse:separate;border-spacing:1px}
th{font-weight:normal;text-align:left;white-space:nowrap;padding:0 .5em}
thead th{font-size:11px;color:var(--dim);border-left:1px solid var(--line)}
tbody th{position:sticky;left:0;background:var(--page);z-index:1}
th.share{position:static;text-align:right}
td{position:relative;min-width:12px;height:18px;padding:0}
td span{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
td:hover{outline:2px solid var(--text)}
td:hover span{width:max-content;max-width:36em;height:auto;clip-path:none;z-index:2;top:20px;left:0;padding:.4em .7em;
background:var(--tip);border:1px solid var(--line);box-shadow:0 2px 8px #0005;white-space:pre-line}
td.right:hover span{left:auto;right:0}
.legend{display:flex;gap:1.2em;list-style:none;padding:0}
li i{display:inline-block;width:12px;height:12px;margin-right:.4em}
"""


def render(coverages: Sequence[Coverage], title: str, made_at: float) -> Iterator[str]:
    """Yield the HTML page in pieces."""
    hours = sorted({hour.start for coverage in coverages for hour in coverage.hours})
    if hours:
        hours = list(range(hours[0], hours[-1] + HOUR_S, HOUR_S))
    steps = "".join(f".{name}{{background:var(--{name})}}" for name, _ in _LEGEND)
    yield '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width">'
    yield f"<title>{escape(title)}</title><style>{_STYLE}{steps}</style></head>\n<body><h1>{escape(title)}</h1>\n"
    yield f"<p>Made {_utc(made_at):%Y-%m-%d %H:%M} UTC. A cell is a clock hour in UTC: the share of its planned "
    yield 'downloads that show what the feed was then. Point at one for its numbers.</p>\n<ul class="legend">'
    yield "".join(f'<li><i class="{name}"></i>{words}</li>' for name, words in _LEGEND)
    yield "</ul>\n<table>\n<thead>"
    yield from _heads(hours)
    yield "</thead>\n<tbody>\n"
    for coverage in coverages:
        yield from _row(coverage, hours)
    yield "</tbody>\n</table>\n"
    yield from _problems(coverages)
    yield "</body></html>\n"


def _heads(hours: Sequence[int]) -> Iterator[str]:
    yield '<tr><th scope="col">feed</th><th scope="col" class="share">complete</th>'
    for day, group in groupby(hours, lambda hour: _utc(hour).date()):
        yield f'<th scope="colgroup" colspan="{len([*group])}">{day}</th>'
    yield "</tr>"


def _row(coverage: Coverage, hours: Sequence[int]) -> Iterator[str]:
    share = "-" if coverage.completeness is None else percent(coverage.completeness)
    yield f'<tr><th scope="row">{escape(coverage.feed)}</th><th class="share">{share}</th>'
    known = {hour.start: hour for hour in coverage.hours}
    for number, start in enumerate(hours):
        side = " right" if number > len(hours) // 2 else ""
        hour = known.get(start)
        if hour is None:
            yield "<td></td>"
        else:
            yield f'<td class="{_step(hour)}{side}"><span>{escape(describe(hour))}</span></td>'
    yield "</tr>\n"


def _problems(coverages: Iterable[Coverage]) -> Iterator[str]:
    lines = [f"{coverage.feed}: {problem}" for coverage in coverages for problem in coverage.problems]
    if lines:
        yield "<h2>Could not be read</h2>\n<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>\n"


def describe(hour: Hour) -> str:
    """Return a description of an hour, in lines."""
    lines = [f"{_utc(hour.start):%Y-%m-%d %H:%M} UTC"]
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


def percent(share: float) -> str:
    """Return a share as text, such as 99.6 %; 100 % only when the share is complete."""
    return f"{min(share * 100, 100.0 if share >= 1 else 99.9):.4g} %"


def _gap(gap: Gap) -> str:
    return f"{gap.seconds:,.0f} s from {_utc(gap.start_ms // 1000):%H:%M:%S}: {gap.cause}"


def _step(hour: Hour) -> str:
    share = hour.completeness
    return "unknown" if share is None else next(name for least, name in _STEPS if share >= least)


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
