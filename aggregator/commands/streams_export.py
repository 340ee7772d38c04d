"""`streams export`: write what was recorded as JSON lines, CSV, Parquet or ids."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aggregator.commands import screen
from aggregator.commands.bar import Bar
from aggregator.commands.feeds_options import add_span, add_store, archive_of, given_span, read_path, unmet, wanted_by
from aggregator.commands.invocation import Failed, Invocation, add_json
from aggregator.commands.streams_folder import add_directory, directory_of
from aggregator.config.hints import meant
from aggregator.errors import EXIT_CHECK_FAILED, EXIT_OK, ConfigError
from aggregator.streams.exporting.export import ALWAYS, Export, Exported, Wanted
from aggregator.streams.exporting.forms import FORMATS
from aggregator.streams.exporting.selection import Catalogue, Problem
from aggregator.streams.exporting.target import Target
from aggregator.streams.reading.places import FolderPlace, Place, StorePlace
from aggregator.streams.times import Span, iso


def add_export(parser: argparse.ArgumentParser) -> None:
    """Declare `streams export STREAM...`."""
    parser.add_argument("streams", metavar="STREAM", nargs="+", help="a stream's name, or a pattern such as 'tweets*'")
    add_span(parser)
    words = "ids is one id a line; parquet needs the extra `export`"
    parser.add_argument("--format", choices=FORMATS, required=True, help=words)
    words = "a folder of its own; or a file, when it ends in .jsonl, .csv, .parquet, or .txt for ids"
    parser.add_argument("--to", metavar="PATH", type=read_path, required=True, help=words)
    parser.add_argument("--overwrite", action="store_true", help="replace an export that is there already")
    parser.add_argument("--dedupe", action="store_true", help="export each event once, by its id")
    words = "rows of each file at most; 0 = all in one (default 250000)"
    parser.add_argument("--part-rows", metavar="N", type=_count, default=250_000, help=words)
    words = "leave out what the platforms have taken back since: deleted or withheld posts, and places"
    parser.add_argument("--honour-deletions", action="store_true", help=words)
    add_directory(parser)
    add_store(parser)
    add_json(parser)
    parser.set_defaults(run=_export)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"needs a whole number (found {text!r})")
    return int(text)


def _export(invocation: Invocation, args: argparse.Namespace) -> int:
    span = given_span(args)
    span_ms = None if span is None else Span(span.start * 1000, span.end * 1000)
    target = Target(Path(args.to), args.format, args.part_rows, overwrite=args.overwrite)
    wanted = Wanted(args.format, span_ms, args.dedupe, args.honour_deletions)
    with _place(invocation, args) as place:
        catalogue = Catalogue(place, _named(args.streams, place))
        export = Export(catalogue, wanted, _settings(args, span_ms))
        if not export.files:
            moved = "; its files are in a store: give --store NAME" if catalogue.moved(span_ms or ALWAYS) else ""
            raise Failed(f"nothing is recorded of this time{' here' if moved else ''}; nothing was written{moved}")
        with Bar(export.items, "files") as bar:
            try:
                done = export.run(target, lambda chosen: bar.advance(chosen.size_bytes))
            except OSError as error:
                raise Failed(f"{error.filename or args.to}: {error.strerror or error}; nothing was written") from error
    return _report(invocation, args, done)


@contextmanager
def _place(invocation: Invocation, args: argparse.Namespace) -> Iterator[Place]:
    """Open what the files are in: a store when one is named, else the folder."""
    if args.store is None and args.prefix is None:
        directory = directory_of(invocation, args)
        if not directory.is_dir():
            raise ConfigError(f"{directory}: no such folder; name that of `record` with --directory DIR")
        yield FolderPlace(directory)
    elif args.directory is not None:
        raise ConfigError("--directory and --store: give one of them")
    else:
        with archive_of(invocation, args, of_streams=True) as archive:
            yield StorePlace(archive.store, archive.prefix)


def _named(patterns: Sequence[str], place: Place) -> list[str]:
    """Return the streams that names and patterns mean. Raises ConfigError for one that means none."""
    known = place.streams()
    pattern = unmet(patterns, known)
    if pattern is not None:
        there = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "") or "nothing"
        raise ConfigError(f"nothing is recorded of {pattern!r}{meant(pattern, known)}; there is: {there}")
    is_wanted = wanted_by(patterns)
    return [stream for stream in known if is_wanted(stream)]


def _settings(args: argparse.Namespace, span: Span | None) -> dict[str, str]:
    return {
        "streams": " ".join(args.streams),
        "start": "the beginning" if span is None or args.start is None else iso(span.start_ms),
        "end (not included)": "the end" if span is None or args.end is None else iso(span.end_ms),
        "format": args.format,
        "part-rows": str(args.part_rows),
        "dedupe": "yes" if args.dedupe else "no",
        "honour-deletions": "yes" if args.honour_deletions else "no",
    }


def _report(invocation: Invocation, args: argparse.Namespace, done: Exported) -> int:
    new = [problem for problem in done.problems if not problem.is_known]
    if args.json:
        facts = {**done._asdict(), "parts": [part._asdict() for part in done.parts]}
        problems = [problem._asdict() for problem in done.problems]
        screen.print_json({"ok": not new, "to": args.to, **facts, "problems": problems})
    else:
        for problem in done.problems:
            _tell(invocation, problem)
        left_out = "".join(f", {count:,} {reason}" for reason, count in sorted(done.left_out.items()))
        words = f"{done.exported:,} of {done.read:,} events of {done.files:,} files in {args.to}"
        invocation.say(f"{words}{f'; left out{left_out[1:]}' if left_out else ''}")
        if done.gaps:
            invocation.say(f"gaps in this time: {done.gaps:,}; the README lists them")
    return EXIT_CHECK_FAILED if new else EXIT_OK


def _tell(invocation: Invocation, problem: Problem) -> None:
    """Print what could not be read; what a sidecar says already is for people only."""
    line = screen.one_line(f"{problem.file}: {problem.words}", 400)
    if problem.is_known:
        invocation.say(f"known: {line}")
    else:
        print(f"damaged: {line}")
