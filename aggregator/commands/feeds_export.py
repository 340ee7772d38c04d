"""`feeds export`: turn archived GTFS-realtime into tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from aggregator.commands import screen
from aggregator.commands.bar import Bar
from aggregator.commands.feeds_options import (
    OpenArchive,
    add_feeds_wanted,
    add_span,
    add_store,
    archive_of,
    find,
    given_span,
    read_path,
)
from aggregator.commands.invocation import Failed, Invocation, add_json
from aggregator.config.hints import counted
from aggregator.errors import EXIT_CHECK_FAILED, EXIT_OK
from aggregator.feeds.query.catalogue import Archived
from aggregator.feeds.query.export import Exported, Target, export
from aggregator.feeds.query.rowfiles import FORMATS


def add_export(parser: argparse.ArgumentParser) -> None:
    """Declare `feeds export`."""
    add_feeds_wanted(parser)
    add_span(parser)
    parser.add_argument("--format", choices=FORMATS, required=True, help="parquet needs the extra `export`")
    words = "a file for all; or a folder (there already, or with a slash at its end) for a file of each feed and day"
    parser.add_argument("--to", metavar="PATH", type=read_path, required=True, help=words)
    add_store(parser)
    add_json(parser)
    parser.set_defaults(run=_export)


def _export(invocation: Invocation, args: argparse.Namespace) -> int:
    path = Path(args.to)
    span = given_span(args)
    target = Target(path, args.format, is_folder=args.to.endswith("/") or path.is_dir(), span=span)
    done: list[Exported] = []
    with archive_of(invocation, args) as place:
        bundles = _realtime(place, find(place, args.feeds, span))
        try:
            with Bar(bundles) as bar:
                for result in export(place.store, bundles, span, target):
                    done.append(result)
                    for problem in result.problems:
                        bar.line(f"left out: {screen.one_line(problem, 400)}", quiet=args.json)
                    bar.advance(result.archived.size_bytes)
        except OSError as error:
            raise Failed(f"{error.filename or path}: {error.strerror or error}") from error
    return _report(invocation, args, done)


def _realtime(place: OpenArchive, bundles: list[Archived]) -> list[Archived]:
    """Leave out bundles of feeds that are configured with another format. Raises Failed when none is left."""
    other = {name for name, feed in place.feeds.items() if feed.format != "gtfs-realtime"}
    kept = [bundle for bundle in bundles if bundle.feed not in other]
    if not kept:
        names = ", ".join(sorted({bundle.feed for bundle in bundles})) or "none"
        raise Failed(f"no GTFS-realtime among the feeds (found {names}); `feeds retrieve` fetches them as they are")
    return kept


def _report(invocation: Invocation, args: argparse.Namespace, done: list[Exported]) -> int:
    problems = [problem for result in done for problem in result.problems]
    rows, publications = sum(result.rows for result in done), sum(result.publications for result in done)
    if args.json:
        facts = {"bundles": len(done), "publications": publications, "rows": rows, "problems": problems}
        screen.print_json({"ok": not problems, "to": args.to, **facts})
    else:
        left_out = f"; {len(problems):,} could not be read" if problems else ""
        invocation.say(f"{counted(rows, 'row')} of {counted(publications, 'publication')} in {args.to}{left_out}")
    return EXIT_CHECK_FAILED if problems else EXIT_OK
