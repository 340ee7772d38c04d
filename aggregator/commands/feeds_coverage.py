"""`feeds coverage`: show how complete the collected data are, hour by hour, and the causes of gaps."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from aggregator.commands import screen
from aggregator.commands.feeds_options import (
    add_feeds_wanted,
    add_span,
    add_store,
    archive_of,
    read_path,
    read_span,
    unmet,
    wanted_by,
)
from aggregator.commands.invocation import Failed, Invocation, add_json
from aggregator.commands.screen import Column, Painted
from aggregator.config.hints import meant
from aggregator.errors import EXIT_CHECK_FAILED, EXIT_OK
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.stamps import write_stamp
from aggregator.feeds.query.catalogue import Span
from aggregator.feeds.query.coverage import HOUR_S, Coverage, Gap, Hour, measure
from aggregator.feeds.query.evidence import Evidence, gather
from aggregator.feeds.query.heatmap import counts_of, render
from aggregator.files.durable import part_of, place_of
from aggregator.files.opening import open_part
from aggregator.monitor.heatmap import percent

_DEFAULT_HOURS = 24
_CAUSE_WIDTH = 70
_COLUMNS = (
    Column("FEED"),
    Column("HOUR"),
    Column("EXPECTED", True),
    Column("OK", True),
    Column("SAME", True),
    Column("304", True),
    Column("INVALID", True),
    Column("FAILED", True),
    Column("LATE", True),
    Column("MISSED", True),
    Column("UNRECORDED", True),
    Column("PUBLISHED", True),
    Column("COMPLETE", True),
    Column("LONGEST GAP"),
)


def add_coverage(parser: argparse.ArgumentParser) -> None:
    """Declare `feeds coverage`."""
    add_feeds_wanted(parser)
    add_span(parser)
    parser.add_argument("--html", metavar="FILE", type=read_path, help="write a heat map to this file too")
    parser.add_argument("--min", metavar="PERCENT", type=_percent, help="exit with 1 when a feed is less complete")
    add_store(parser)
    add_json(parser)
    parser.set_defaults(run=_coverage)


def _percent(text: str) -> float:
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError(f"needs a percentage from 0 to 100 (found {text!r})")
    return number / 100


def _coverage(invocation: Invocation, args: argparse.Namespace) -> int:
    now = time.time()
    this_hour = int(now) // HOUR_S * HOUR_S
    span = read_span(args, this_hour - (_DEFAULT_HOURS - 1) * HOUR_S, this_hour + HOUR_S)
    wanted = wanted_by(args.feeds)
    folders = FeedFolders(invocation.root / "data" / "feeds")
    with archive_of(invocation, args) as place:
        periods = {name: feed.period_ms for name, feed in place.feeds.items() if wanted(name)}
        evidence = gather(place.store, place.prefix, folders, span, wanted)
        coverages = _measured(evidence, periods, span, now, strict=args.start is not None, to_end=args.end is not None)
    _refuse_nothing([coverage.feed for coverage in coverages], args.feeds)
    if args.html:
        _write(Path(args.html), coverages, span, now)
    below = [feed.feed for feed in coverages if args.min is not None and (feed.completeness or 0.0) < args.min]
    broken = any(feed.problems for feed in coverages)
    if args.json:
        screen.print_json({"ok": not below and not broken, "feeds": [_facts(feed) for feed in coverages]})
    else:
        _print(invocation, coverages, below, args)
    return EXIT_CHECK_FAILED if below or broken else EXIT_OK


def _measured(
    evidence: Iterator[tuple[str, Evidence]],
    periods: Mapping[str, int],
    span: Span,
    now: float,
    *,
    strict: bool,
    to_end: bool,
) -> list[Coverage]:
    """Return the coverage of every feed, including feeds of which nothing is known.

    The feeds are measured one after the other, because the evidence is large.
    """

    def one(feed: str, known: Evidence) -> Coverage:
        return measure(feed, known, span, now, tick_ms=periods.get(feed, 0), strict=strict, to_end=to_end)

    found = {feed: one(feed, known) for feed, known in evidence}
    found |= {feed: one(feed, Evidence([], {}, [])) for feed in periods if feed not in found}
    return [found[feed] for feed in sorted(found)]


def _refuse_nothing(found: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise Failed when no feed, or no feed of one pattern, was measured: an empty report must not look complete."""
    pattern = unmet(wanted, found)
    if pattern is not None:
        raise Failed(f"nothing is known of {pattern!r} in this time{meant(pattern, list(found))}")
    if not found:
        raise Failed("nothing is known of any feed in this time")


def _write(path: Path, coverages: list[Coverage], span: Span, now: float) -> None:
    title = f"Coverage of feeds, {_minute(span.start)} to {_minute(span.end)}"
    try:
        place = place_of(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        part = part_of(place)
        try:
            with open(open_part(part), "w", encoding="utf-8") as file:
                file.writelines(render(coverages, title, now))
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror}") from error


def _print(invocation: Invocation, coverages: list[Coverage], below: list[str], args: argparse.Namespace) -> None:
    colours = screen.colours_wanted(sys.stdout)
    rows = [row for coverage in coverages for row in _rows(coverage)]
    if rows:
        print(screen.table(_COLUMNS, rows, colours=colours))
    for coverage in coverages:
        for problem in coverage.problems:
            print(screen.paint(f"{coverage.feed}: {screen.one_line(problem, 400)}", "red", colours=colours))
    for feed in below:
        print(screen.paint(f"{feed}: less than {args.min * 100:g} % complete", "red", colours=colours))
    if args.html:
        invocation.say(f"the heat map is in {args.html}")


def _rows(coverage: Coverage) -> Iterator[list[str | Painted]]:
    blank = [""] * (len(_COLUMNS) - 4)
    if len(coverage.hours) > 1 and not any(hour.publications or any(hour.outcomes.values()) for hour in coverage.hours):
        yield [coverage.feed, "no record", *blank, _share(coverage.completeness), _gap_words(coverage.gap)]
        return
    for hour in coverage.hours:
        counts = [screen.amount(count) if count else "" for count in counts_of(hour).values()]
        yield [
            coverage.feed,
            _minute(hour.start),
            screen.NOTHING if hour.expected is None else screen.amount(hour.expected),
            *counts,
            screen.amount(hour.publications),
            _share(hour.completeness),
            _gap_words(hour.gap),
        ]
    if len(coverage.hours) > 1:
        yield [coverage.feed, "in all", *blank, _share(coverage.completeness), _gap_words(coverage.gap)]


def _share(share: float | None) -> Painted:
    if share is None:
        return Painted(screen.NOTHING, "grey")
    return Painted(percent(share), "green" if share >= 0.99 else "yellow" if share >= 0.9 else "red")


def _gap_words(gap: Gap | None) -> str:
    return f"{screen.age(gap.seconds)}: {screen.one_line(gap.cause, _CAUSE_WIDTH)}" if gap else ""


def _facts(coverage: Coverage) -> dict[str, object]:
    return {
        "feed": coverage.feed,
        "completeness": coverage.completeness,
        "longest_gap": _gap_facts(coverage.gap),
        "problems": coverage.problems,
        "hours": [_hour_facts(hour) for hour in coverage.hours],
    }


def _hour_facts(hour: Hour) -> dict[str, object]:
    return {
        "hour": write_stamp(hour.start),
        "expected": hour.expected,
        **counts_of(hour),
        "publications": hour.publications,
        "completeness": hour.completeness,
        "longest_gap": _gap_facts(hour.gap),
    }


def _gap_facts(gap: Gap | None) -> dict[str, object] | None:
    if gap is None:
        return None
    return {"start_ms": gap.start_ms, "end_ms": gap.end_ms, "seconds": gap.seconds, "cause": gap.cause}


def _minute(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M}"
