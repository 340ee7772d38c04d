"""`feeds retrieve`: fetch archived bundles."""

from __future__ import annotations

import argparse
from pathlib import Path

from aggregator.commands import screen
from aggregator.commands.bar import Bar
from aggregator.commands.feeds_options import add_span, add_store, archive_of, find, given_span, read_path
from aggregator.commands.invocation import Failed, Invocation, add_json
from aggregator.config.hints import counted
from aggregator.errors import EXIT_CHECK_FAILED, EXIT_OK
from aggregator.feeds.naming.stamps import write_stamp
from aggregator.feeds.query.retrieve import retrieve
from aggregator.feeds.query.retrieveone import Layout, Retrieved


def add_retrieve(parser: argparse.ArgumentParser) -> None:
    """Declare `feeds retrieve`."""
    parser.add_argument("feeds", metavar="FEED", nargs="+", help="a feed's name, or a pattern such as 'mta*'")
    add_span(parser)
    parser.add_argument(
        "--to", metavar="DIR", type=read_path, required=True, help="where to; what is there is not fetched again"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--packed", action="store_true", help="the bundles as they are, instead of a folder for each")
    form.add_argument(
        "--flat", action="store_true", help="all publications in one folder, instead of one for each bundle"
    )
    add_store(parser)
    add_json(parser)
    parser.set_defaults(run=_retrieve)


def _retrieve(invocation: Invocation, args: argparse.Namespace) -> int:
    layout: Layout = "packed" if args.packed else "flat" if args.flat else "folders"
    with archive_of(invocation, args) as place:
        bundles = find(place, args.feeds, given_span(args))
        done = []
        try:
            with Bar(bundles) as bar:
                for result in retrieve(place.store, bundles, Path(args.to), layout):
                    done.append(result)
                    bar.line(_line(result), quiet=args.json or (invocation.quiet and not result.problems))
                    bar.advance(result.archived.size_bytes)
        except OSError as error:
            words = f"{error.filename or args.to}: {error.strerror or error}; the same command goes on from here"
            raise Failed(words) from error
    return _report(invocation, args, sorted(done))


def _report(invocation: Invocation, args: argparse.Namespace, done: list[Retrieved]) -> int:
    failed = [result for result in done if result.problems]
    if args.json:
        screen.print_json({"ok": not failed, "bundles": [_facts(result) for result in done]})
    else:
        new = sum(result.is_new for result in done)
        there = len(done) - new - _lost(done)
        words = f"{counted(len(done), 'bundle')} in {args.to}: {new:,} fetched, {there:,} were there"
        invocation.say(words + (f", {len(failed):,} with problems" if failed else ""))
    return EXIT_CHECK_FAILED if failed else EXIT_OK


def _lost(done: list[Retrieved]) -> int:
    return sum(not result.files for result in done)


def _line(result: Retrieved) -> str:
    archived = result.archived
    what = counted(result.files, "file") if result.is_new else "nothing" if not result.files else "was there"
    words = f"{archived.feed} {write_stamp(archived.start)}: {what}"
    return "\n".join([words, *(f"  {screen.one_line(problem, 400)}" for problem in result.problems)])


def _facts(result: Retrieved) -> dict[str, object]:
    return {
        "feed": result.archived.feed,
        "start": write_stamp(result.archived.start),
        "keys": [info.key for info in result.archived.objects],
        "files": result.files,
        "is_new": result.is_new,
        "problems": list(result.problems),
    }
