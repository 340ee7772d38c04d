"""One HTML page with a heat map: a row for each thing, a column for each hour or day. It loads no other files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from html import escape
from itertools import groupby
from typing import NamedTuple

LEGEND = (
    ("full", "all"),
    ("high", "99 %"),
    ("good", "90 %"),
    ("half", "50 %"),
    ("low", "less"),
    ("none", "nothing"),
    ("unknown", "not known"),
)
_STEPS = ((1.0, "full"), (0.99, "high"), (0.9, "good"), (0.5, "half"), (0.000001, "low"), (0.0, "none"))

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


class Cell(NamedTuple):
    """One cell: the share of it that is complete (None = not known), and a description in lines."""

    share: float | None
    words: str


class Row(NamedTuple):
    """One row: its name, the share of all of it that is complete, and its cells by their beginning."""

    name: str
    share: float | None
    cells: Mapping[int, Cell]


class Page(NamedTuple):
    """What a page says besides its rows."""

    title: str
    introduction: str
    """A sentence on what a cell is."""
    head: str
    """The head of the rows' names."""
    starts: Sequence[int]
    """The beginning of each column, in Unix seconds."""
    group_of: Callable[[int], object]
    """Returns the head of the group that a column belongs to."""
    made_at: float


def render(page: Page, rows: Iterable[Row], end: str = "") -> Iterator[str]:
    """Yield the HTML page in pieces; `end` is HTML behind the table."""
    title = escape(page.title)
    steps = "".join(f".{name}{{background:var(--{name})}}" for name, _ in LEGEND)
    yield '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width">'
    yield f"<title>{title}</title><style>{_STYLE}{steps}</style></head>\n<body><h1>{title}</h1>\n"
    yield f"<p>Made {utc(page.made_at):%Y-%m-%d %H:%M} UTC. {escape(page.introduction)}</p>\n"
    yield '<ul class="legend">'
    yield "".join(f'<li><i class="{name}"></i>{words}</li>' for name, words in LEGEND)
    yield "</ul>\n<table>\n<thead>"
    yield f'<tr><th scope="col">{page.head}</th><th scope="col" class="share">complete</th>'
    for head, group in groupby(page.starts, page.group_of):
        yield f'<th scope="colgroup" colspan="{len([*group])}">{head}</th>'
    yield "</tr></thead>\n<tbody>\n"
    for row in rows:
        yield from _row(row, page.starts)
    yield f"</tbody>\n</table>\n{end}</body></html>\n"


def _row(row: Row, starts: Sequence[int]) -> Iterator[str]:
    share = "-" if row.share is None else percent(row.share)
    yield f'<tr><th scope="row">{escape(row.name)}</th><th class="share">{share}</th>'
    for number, start in enumerate(starts):
        side = " right" if number > len(starts) // 2 else ""
        cell = row.cells.get(start)
        if cell is None:
            yield "<td></td>"
        else:
            yield f'<td class="{_step(cell.share)}{side}"><span>{escape(cell.words)}</span></td>'
    yield "</tr>\n"


def percent(share: float) -> str:
    """Return a share as text, such as 99.6 %; 100 % only when the share is complete."""
    return f"{min(share * 100, 100.0 if share >= 1 else 99.9):.4g} %"


def utc(seconds: float) -> datetime:
    """Return a moment in Unix seconds."""
    return datetime.fromtimestamp(seconds, timezone.utc)


def _step(share: float | None) -> str:
    return "unknown" if share is None else next(name for least, name in _STEPS if share >= least)
