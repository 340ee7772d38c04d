"""Options that the commands on archived feeds share: which store, which feeds, which time."""

from __future__ import annotations

import argparse
import fnmatch
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import NamedTuple

from aggregator.commands.archives import archives
from aggregator.commands.invocation import Failed, Invocation
from aggregator.config.configuration import Config
from aggregator.config.hints import meant
from aggregator.feeds.naming.stamps import DAY_S
from aggregator.feeds.query.catalogue import Archived, Span, find_bundles
from aggregator.feeds.settings.table import Feed
from aggregator.stores import open_configured, open_store
from aggregator.stores.settings import parse_prefix
from aggregator.stores.store import Store

_FORMS = ("%Y-%m-%d", "%Y-%m-%dT%H", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H%M%S")


def add_store(parser: argparse.ArgumentParser) -> None:
    """Give a command the options that say where the archive is."""
    words = "NAME of a section [store_NAME], or a URL; not needed when there is one section"
    parser.add_argument("--store", metavar="NAME", help=words)
    parser.add_argument(
        "-p", "--prefix", metavar="PREFIX", type=read_prefix, help="what the keys of the archive begin with"
    )


def add_feeds_wanted(parser: argparse.ArgumentParser) -> None:
    """Give a command the argument that names feeds; without a name the command is about all feeds."""
    parser.add_argument(
        "feeds", metavar="FEED", nargs="*", help="a feed's name, or a pattern such as 'mta*' (default: all)"
    )


def add_span(parser: argparse.ArgumentParser) -> None:
    """Give a command the options that limit the time."""
    parser.add_argument("--start", metavar="TIME", type=read_time, help="UTC, such as 2026-11-01 or 2026-11-01T05:30")
    parser.add_argument("--end", metavar="TIME", type=read_time, help="UTC, itself not included")


def read_path(text: str) -> str:
    """Return a path as it was typed. Raises ArgumentTypeError for an empty one, which would mean the working folder."""
    if not text:
        raise argparse.ArgumentTypeError("needs a path (found '')")
    return text


def read_time(text: str) -> int:
    """Return the Unix seconds of a time in UTC as people write it. Raises ArgumentTypeError."""
    words = text.strip().replace(" ", "T", 1).removesuffix("Z")
    for form in (*_FORMS, *(f"{form}%z" for form in _FORMS)):
        try:
            moment = datetime.strptime(words, form)
        except ValueError:
            continue
        return int((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp())
    raise argparse.ArgumentTypeError(f"needs a time such as 2026-11-01T05 (found {text!r})")


def read_span(args: argparse.Namespace, earliest: int, latest: int) -> Span:
    """Return the time asked for; `earliest` and `latest` replace a start or an end that was not given."""
    span = Span(earliest if args.start is None else args.start, latest if args.end is None else args.end)
    if span.start >= span.end:
        raise Failed("--end must be later than --start")
    return span


def given_span(args: argparse.Namespace) -> Span | None:
    """Return the time asked for; None, which means no limit, when neither a start nor an end was given."""
    return None if args.start is None and args.end is None else read_span(args, 0, int(time.time()) + DAY_S)


class OpenArchive(NamedTuple):
    """An open archive: its store, the prefix of its keys, and its configured feeds."""

    store: Store
    prefix: str
    feeds: Mapping[str, Feed]
    """The configured feeds by name; empty when the archive is given by its URL and there is no instance."""


@contextmanager
def archive_of(invocation: Invocation, args: argparse.Namespace, *, of_streams: bool = False) -> Iterator[OpenArchive]:
    """Open the archive of feeds, or of streams, that a command names.

    Raises Failed when the store is unknown or not clear.
    """
    named_by_url = bool(args.store and "://" in args.store)
    config = None if named_by_url and not invocation.file.exists() else invocation.config(imports=False)
    if named_by_url:
        store, prefix = open_store(args.store), ""
    else:
        store, prefix = _configured(config, args.store, of_streams=of_streams)
    try:
        yield OpenArchive(
            store, prefix if args.prefix is None else args.prefix, config.table("feed").all() if config else {}
        )
    finally:
        store.close()


def _configured(config: Config | None, wanted: str | None, *, of_streams: bool) -> tuple[Store, str]:
    """Open a store, and return it with the prefix of its keys.

    Without a name, this is the store of the section with `stage = archive`, or else the only store there is. Of several
    such sections those count that store what is asked for: files of streams, or bundles.
    """
    stores = config.table("store").all() if config else {}
    found = [program.settings for program in archives(config, of_streams=of_streams)] if config else []
    prefixes = {settings.store: settings.prefix for settings in found}
    name = wanted.removeprefix("store_") if wanted else None
    for names in (list(prefixes), list(stores)):
        if name is None and len(names) == 1:
            name = names[0]
    there = ", ".join(stores) or "none"
    if name is None:
        raise Failed(f"which store? give --store NAME or --store URL; sections [store_NAME] there are: {there}")
    if name not in stores:
        raise Failed(f"no section [store_{name}]{meant(name, list(stores))}; there are: {there}")
    return open_configured(stores[name]), prefixes.get(name, "")


def find(place: OpenArchive, feeds: Sequence[str], span: Span | None) -> list[Archived]:
    """Return the bundles of the feeds that names and patterns mean; no names mean every feed.

    Raises Failed when there are no bundles, or when one name or pattern has none.
    """
    bundles = find_bundles(place.store, place.prefix, span, wanted_by(feeds))
    pattern = unmet(feeds, {bundle.feed for bundle in bundles})
    if pattern is not None:
        known = sorted({bundle.feed for bundle in find_bundles(place.store, place.prefix, span)})
        there = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "") or "nothing"
        raise Failed(f"nothing of {pattern!r} is there{meant(pattern, known)}; in this time the store holds: {there}")
    if not bundles:
        raise Failed(
            "the store holds no bundle of this time whose key begins as -p PREFIX, or the section's prefix, says"
        )
    return bundles


def wanted_by(feeds: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that says whether names and patterns mean a feed; an empty list means every feed."""
    return lambda feed: not feeds or any(_means(pattern, feed) for pattern in feeds)


def unmet(feeds: Iterable[str], found: Iterable[str]) -> str | None:
    """Return the first name or pattern that means none of the feeds found; None when each means at least one."""
    known = [*found]
    return next((pattern for pattern in feeds if not any(_means(pattern, feed) for feed in known)), None)


def _means(pattern: str, feed: str) -> bool:
    # compared as a name first, because names may hold brackets; names are in NFC, but a terminal may send another form
    composed = unicodedata.normalize("NFC", pattern)
    return feed == composed or fnmatch.fnmatchcase(feed, composed)


def read_prefix(text: str) -> str:
    """Return the prefix of keys in a store, once it is checked. Raises ArgumentTypeError."""
    try:
        return parse_prefix(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"needs names with single slashes between them (found {text!r})") from error
