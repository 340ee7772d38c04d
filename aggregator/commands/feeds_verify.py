"""`feeds verify`: read archived bundles again, to the last byte."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from aggregator.commands import screen
from aggregator.commands.bar import Bar
from aggregator.commands.feeds_options import add_feeds_wanted, add_span, add_store, archive_of, find, given_span
from aggregator.commands.invocation import Invocation, add_json
from aggregator.config.hints import counted
from aggregator.errors import EXIT_CHECK_FAILED, EXIT_OK
from aggregator.feeds.naming.stamps import write_stamp
from aggregator.feeds.query.verify import Checked, verify
from aggregator.feeds.query.verifyparsers import Parser, guessed_parser, known_parser
from aggregator.feeds.settings.table import Feed


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Declare `feeds verify`."""
    add_feeds_wanted(parser)
    add_span(parser)
    add_store(parser)
    add_json(parser)
    parser.set_defaults(run=_verify)


def _verify(invocation: Invocation, args: argparse.Namespace) -> int:
    with archive_of(invocation, args) as place:
        bundles = find(place, args.feeds, given_span(args))
        checked = []
        with Bar(bundles) as bar:
            for one in verify(place.store, bundles, _parsers(place.feeds, invocation.root), time.time()):
                checked.append(one)
                for finding in one.findings:
                    bar.line(_red(finding), quiet=args.json)
                bar.advance(one.archived.size_bytes)
    return _report(invocation, args, checked)


def _report(invocation: Invocation, args: argparse.Namespace, checked: list[Checked]) -> int:
    bad = sum(bool(one.findings) for one in checked)
    if args.json:
        facts = [
            {
                "feed": one.archived.feed,
                "start": write_stamp(one.archived.start),
                "keys": [info.key for info in one.archived.objects],
                "publications": one.publications,
                "findings": one.findings,
            }
            for one in checked
        ]
        screen.print_json({"ok": not bad, "bundles": facts})
    else:
        publications = sum(one.publications for one in checked)
        verdict = f"{bad:,} with findings" if bad else "all is well"
        invocation.say(f"{counted(len(checked), 'bundle')} with {counted(publications, 'publication')}: {verdict}")
    return EXIT_CHECK_FAILED if bad else EXIT_OK


def _red(words: str) -> str:
    return screen.paint(screen.one_line(words, 400), "red", colours=screen.colours_wanted(sys.stdout))


def _parsers(feeds: Mapping[str, Feed], root: Path) -> Callable[[str, str], Parser | None]:
    """Return a function that finds a feed's parser by its configuration, else by the extension of its files."""
    known = lru_cache(maxsize=None)(lambda timestamp: known_parser(timestamp, root))
    return lambda feed, extension: known(feeds[feed].timestamp) if feed in feeds else guessed_parser(extension)
