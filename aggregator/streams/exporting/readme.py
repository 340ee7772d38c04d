"""The README beside an export: what it is, what was asked of the platforms, and what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import NamedTuple

import msgspec

from aggregator import __version__
from aggregator.streams.exporting.columns import COLUMNS
from aggregator.streams.exporting.selection import Chosen, Problem
from aggregator.streams.exporting.target import Written
from aggregator.streams.messages import Connection, Gap
from aggregator.streams.times import Span, iso

_MOST_GAPS = 1000
"""The most gaps that are listed; `streams gaps` has all."""


class Told(NamedTuple):
    """What a README tells."""

    settings: dict[str, str]
    """What the export was asked for: words and values."""
    span: Span | None
    """None when all was exported."""
    files: dict[str, list[Chosen]]
    """Of each stream the files that were read."""
    history: dict[str, list[Connection]]
    """Of each stream the connections at which something changed, of all there were."""
    gaps: dict[str, list[Gap]]
    """Of each stream the gaps within the time of the export."""
    read: Counter[str]
    """How many events of each stream were read."""
    exported: Counter[str]
    left_out: Counter[str]
    """How many events were left out, by reason."""
    changed: int
    """How many events had something taken from them."""
    problems: Sequence[Problem]
    form: str


def readme_of(told: Told, parts: Sequence[Written]) -> str:
    """Return the text of the README, as Markdown."""
    sections = (_head(told, parts), _settings(told), _history(told), _gaps(told), _left_out(told), _columns(told))
    return "\n".join(line for section in sections for line in section) + "\n"


def _head(told: Told, parts: Sequence[Written]) -> Iterator[str]:
    yield "# Export of streams"
    yield ""
    rows = sum(part.rows for part in parts)
    yield f"Made by aggregator {__version__} at {_now()} UTC; rows: {rows:,}, files: {len(parts):,}."
    yield ""
    yield from _table(("stream", "files", "events read", "events exported", "first file", "last file"), _streams(told))
    yield from _table(
        ("file", "rows", "bytes"), [(part.name, f"{part.rows:,}", f"{part.size_bytes:,}") for part in parts]
    )


def _streams(told: Told) -> Iterator[tuple[str, ...]]:
    for stream, files in told.files.items():
        first, last = (iso(files[0].first_ms), iso(files[-1].last_ms)) if files else ("", "")
        yield stream, f"{len(files):,}", f"{told.read[stream]:,}", f"{told.exported[stream]:,}", first, last


def _settings(told: Told) -> Iterator[str]:
    yield "## Settings of the export"
    yield ""
    yield from _table(("setting", "value"), told.settings.items())


def _history(told: Told) -> Iterator[str]:
    yield "## What was asked of the platforms"
    yield ""
    yield "Each connection at which something changed, of all that is recorded of the streams, in this export or not."
    yield ""
    for stream, changes in told.history.items():
        yield f"### {_plain(stream)}"
        yield ""
        if not changes:
            yield "Nothing is noted: no sidecar of its files has a connection."
            yield ""
            continue
        rows = (_change(found, before) for before, found in zip([None, *changes], changes, strict=False))
        yield from _table(("since", "type", "address", "filters", "rules that came (+) and went (-)"), rows)


def _change(found: Connection, before: Connection | None) -> tuple[str, ...]:
    rules = "; ".join(_rules("+", found, before) + _rules("-", before, found))
    return iso(found.at_ms), found.type, found.url, msgspec.json.encode(found.filters).decode(), rules


def _rules(sign: str, some: Connection | None, others: Connection | None) -> list[str]:
    """Return the rules that some have and others do not, each as one text."""
    known = {frozenset(rule.items()) for rule in others.rules} if others else set()
    rules = some.rules if some else ()
    return [f"{sign} {_rule(rule)}" for rule in rules if frozenset(rule.items()) not in known]


def _rule(rule: dict[str, str]) -> str:
    tag = f" ({rule['tag']})" if rule.get("tag") else ""
    return f"{rule.get('rule_id', '')}: {rule.get('value', '')}{tag}"


def _gaps(told: Told) -> Iterator[str]:
    yield "## Gaps"
    yield ""
    yield "Times within the export in which events may be missing."
    yield ""
    for stream, gaps in told.gaps.items():
        yield f"### {_plain(stream)}"
        yield ""
        if not gaps:
            yield "None is recorded."
            yield ""
            continue
        seconds = sum(gap.to_ms - gap.from_ms for gap in gaps) / 1000
        yield f"Gaps: {len(gaps):,}; seconds in all: {seconds:,.0f}."
        yield ""
        yield from _table(("from", "to", "cause", "lost", "detail"), map(_gap, gaps[:_MOST_GAPS]))
        if len(gaps) > _MOST_GAPS:
            yield f"{len(gaps) - _MOST_GAPS:,} more are not listed here; `aggregator streams gaps` shows them."
            yield ""


def _gap(gap: Gap) -> tuple[str, ...]:
    return iso(gap.from_ms), iso(gap.to_ms), gap.cause, "unknown" if gap.lost is None else f"{gap.lost:,}", gap.detail


def _left_out(told: Told) -> Iterator[str]:
    yield "## What was left out"
    yield ""
    if told.left_out:
        yield from _table(("reason", "events"), [(reason, f"{n:,}") for reason, n in sorted(told.left_out.items())])
    else:
        yield "No event that was read."
        yield ""
    if told.changed:
        yield f"{told.changed:,} events are without what was taken back of them: a place, or a tweet that they quote."
        yield ""
    if told.problems:
        yield "Files that could not be read to their end; what of them could be read is in the export:"
        yield ""
        yield from _table(("file", "fault"), [(problem.file, problem.words) for problem in told.problems])


def _columns(told: Told) -> Iterator[str]:
    if told.form in ("csv", "parquet"):
        yield "## Columns"
        yield ""
        yield f"{', '.join(COLUMNS)}."
        yield ""
        yield (
            "`received_at` is about when the event was received: its own time, kept within the time of the file it was "
            "in. Events that are no posts have their JSON in the column `json`."
        )


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def _table(heads: Sequence[str], rows: object) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:  # type: ignore[attr-defined]
        yield f"| {' | '.join(map(_plain, row))} |"
    yield ""


def _plain(text: str) -> str:
    """Return text from outside so that it is shown as it is, on one line, whatever shows it."""
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    for mark in "\\`*[]<>|":
        shown = shown.replace(mark, f"\\{mark}")
    return shown
