"""`streams gaps`: what is missing of streams: when, how long, how much as far as known, and why."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aggregator.commands import screen
from aggregator.commands.feeds_options import add_span, add_store, archive_of, read_path, unmet, wanted_by
from aggregator.commands.invocation import Failed, Invocation, add_json
from aggregator.commands.screen import Column, Painted
from aggregator.config.hints import meant
from aggregator.errors import EXIT_OK
from aggregator.files.durable import place_of, write_durably
from aggregator.monitor.heatmap import percent
from aggregator.streams.messages import Gap
from aggregator.streams.query.gaps import Missing, known_streams, look, look_in
from aggregator.streams.query.gapspage import render
from aggregator.streams.reading.places import StorePlace
from aggregator.streams.times import Span, iso

_MOST = 50
"""How many gaps are listed; --json has all."""
_CAUSES = (
    Column("STREAM"),
    Column("CAUSE"),
    Column("GAPS", True),
    Column("MISSING", True),
    Column("LOST", True),
    Column("COMPLETE", True),
)
_GAPS = (
    Column("STREAM"),
    Column("FROM"),
    Column("TO"),
    Column("LASTED", True),
    Column("CAUSE"),
    Column("LOST", True),
    Column(""),
)


def add_gaps(parser: argparse.ArgumentParser) -> None:
    """Declare `streams gaps`."""
    parser.add_argument(
        "streams", metavar="STREAM", nargs="*", help="a stream's name, or a pattern such as 'eu*' (default: all)"
    )
    add_span(parser)
    add_store(parser)
    parser.add_argument("--html", metavar="FILE", type=read_path, help="write a heat map to this file too")
    add_json(parser)
    parser.set_defaults(run=_gaps)


def _gaps(invocation: Invocation, args: argparse.Namespace) -> int:
    if None not in (args.start, args.end) and args.start >= args.end:
        raise Failed("--end must be later than --start")
    now = time.time()
    now_ms = int(now * 1000)
    span = Span((args.start or 0) * 1000, now_ms if args.end is None else min(args.end * 1000, now_ms))
    if args.store is None and args.prefix is None:
        config = invocation.running()
        found = list(look(config, _named(args.streams, known_streams(config)), span, now_ms))
    else:
        with archive_of(invocation, args, of_streams=True) as archive:
            place = StorePlace(archive.store, archive.prefix)
            found = list(look_in(place, _named(args.streams, place.streams()), span))
    if args.html:
        _write(Path(args.html), found, now)
    if args.json:
        screen.print_json({"streams": [_as_json(stream) for stream in found]})
    else:
        _print(invocation, found, args.html)
    return EXIT_OK


def _named(patterns: Sequence[str], known: list[str]) -> list[str]:
    """Return the streams that names and patterns mean; all without any. Raises Failed for one that means none."""
    pattern = unmet(patterns, known)
    if pattern is not None:
        raise Failed(f"nothing is known of a stream {pattern!r}{meant(pattern, known)}")
    return list(filter(wanted_by(patterns), known))


def _write(path: Path, found: Sequence[Missing], now: float) -> None:
    try:
        place = place_of(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_durably(place, (piece.encode() for piece in render(found, "Gaps of streams", now)))
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror}") from error


def _print(invocation: Invocation, found: Sequence[Missing], html: str | None) -> None:
    colours = screen.colours_wanted(sys.stdout)
    rows = [row for stream in found for row in _totals(stream)]
    if rows:
        print(screen.table(_CAUSES, rows, colours=colours))
    gaps = sorted(((stream, gap) for stream in found for gap in stream.gaps), key=lambda pair: pair[1].from_ms)
    if gaps:
        print()
        print(screen.table(_GAPS, [_row(stream, gap) for stream, gap in gaps[-_MOST:]], colours=colours))
    if len(gaps) > _MOST:
        invocation.say(f"and {len(gaps) - _MOST:,} earlier ones; --json has all, and --start and --end choose")
    for stream in found:
        if stream.unreadable:
            words = f"{stream.stream}: {stream.unreadable:,} lines of its file of gaps cannot be read"
            print(screen.paint(words, "red", colours=colours))
    if not found:
        invocation.say("no streams are known")
    elif html:
        invocation.say(f"the heat map is in {html}")


def _totals(stream: Missing) -> list[list[str | Painted]]:
    causes = [
        [stream.stream, name, f"{cause.number:,}", screen.age(cause.missing_ms / 1000), _lost(cause.lost), ""]
        for name, cause in stream.causes().items()
    ]
    whole = [f"{len(stream.gaps):,}", screen.age(stream.missing_ms / 1000), _lost(stream.lost), _complete(stream)]
    return [*causes, [stream.stream, "in all", *whole]]  # type: ignore[list-item]


def _complete(stream: Missing) -> Painted:
    share = stream.complete
    if share is None:
        return Painted(screen.NOTHING, "grey")
    return Painted(percent(share), "green" if share >= 0.99 else "yellow" if share >= 0.9 else "red")


def _lost(number: int) -> str:
    return screen.amount(number) if number else screen.NOTHING


def _row(stream: Missing, gap: Gap) -> list[str | Painted]:
    lasts = stream.is_open and gap is stream.gaps[-1]
    return [
        gap.stream,
        iso(gap.from_ms),
        "lasts still" if lasts else iso(gap.to_ms),
        screen.age((gap.to_ms - gap.from_ms) / 1000),
        gap.cause,
        screen.NOTHING if gap.lost is None else screen.amount(gap.lost),
        screen.one_line(gap.detail, 80),
    ]


def _as_json(stream: Missing) -> dict[str, Any]:
    captured = stream.complete is not None
    return {
        "stream": stream.stream,
        "from_ms": stream.span.start_ms if captured else None,
        "to_ms": stream.span.end_ms if captured else None,
        "missing_s": stream.missing_ms / 1000,
        "lost": stream.lost,
        "completeness": stream.complete,
        "causes": {
            name: {"gaps": cause.number, "missing_s": cause.missing_ms / 1000, "lost": cause.lost}
            for name, cause in stream.causes().items()
        },
        "gaps": [
            {
                "from_ms": gap.from_ms,
                "to_ms": gap.to_ms,
                "cause": gap.cause,
                "detail": gap.detail,
                "lost": gap.lost,
                "open": stream.is_open and gap is stream.gaps[-1],
            }
            for gap in stream.gaps
        ],
        "unreadable_lines": stream.unreadable,
    }
