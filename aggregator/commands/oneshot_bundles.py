"""`compress` and `archive`: run a stage once, for users who start it from cron."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import msgspec

from aggregator.commands.feeds_options import read_prefix
from aggregator.commands.foreground import Foreground
from aggregator.commands.invocation import Failed, Invocation
from aggregator.config.hints import counted
from aggregator.feeds.bundle.compression import BadBundle
from aggregator.feeds.bundle.periodbook import read_states
from aggregator.feeds.bundle.revisions import find_revisions, read_revision
from aggregator.feeds.messages.bundles import Bundle, Close, Recorded, Remove, Unite
from aggregator.feeds.messages.reading import decode
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.stamps import write_stamp
from aggregator.monitor.opening import redis_of
from aggregator.runtime.kinds import encode
from aggregator.runtime.queue import Identity
from aggregator.runtime.reading import cursors_of, waiting


def add_compress(parser: argparse.ArgumentParser) -> None:
    """Declare `compress [--all]`."""
    parser.add_argument("--all", action="store_true", help="bundle the periods that are still open too")
    parser.set_defaults(run=compress)


def compress(invocation: Invocation, args: argparse.Namespace) -> int:
    """Bundle the periods that are due, or with --all every open period, and end."""
    foreground = Foreground(invocation, "compress")
    foreground.drain()
    if args.all:
        foreground.push(*map(encode, _open_periods(foreground)))
        foreground.drain()
    number = len(list(_open_periods(foreground)))
    words = f"{counted(number, 'period')} {'is' if number == 1 else 'are'} open"
    invocation.say(f"compress: done; {words}" + ("" if args.all else " (--all bundles them now)"))
    return 0


def _open_periods(foreground: Foreground) -> Iterator[Close]:
    owner = Identity(foreground.program.section, 0, foreground.config.node).owner
    with redis_of(foreground.config) as (client, keys):
        cursors = cursors_of(client, keys, owner)
    for (feed, start), (_, is_open) in read_states(cursors).items():
        if is_open:
            yield Close(feed=feed, start=write_stamp(start), force=True)


def add_archive(parser: argparse.ArgumentParser) -> None:
    """Declare `archive [-p PREFIX]`."""
    parser.add_argument("-p", "--prefix", metavar="PREFIX", type=read_prefix, help="what keys begin with, this time")
    parser.set_defaults(run=archive)


def archive(invocation: Invocation, args: argparse.Namespace) -> int:
    """Store the bundles that wait, and end."""
    foreground = Foreground(invocation, "archive")
    settings = foreground.program.settings
    if args.prefix is not None:
        settings = msgspec.structs.replace(settings, prefix=args.prefix)
    foreground.drain(settings)
    account = foreground.account()
    damaged: list[str] = []
    if not (account.ready or account.in_flight or account.dead):
        foreground.push(*map(encode, _untold(foreground, damaged)))
        foreground.drain(settings)
    invocation.say(f"archive: done; {counted(foreground.account().counts.get('stored', 0), 'bundle')} stored so far")
    if damaged:
        raise Failed("; ".join(damaged))
    return 0


def _untold(foreground: Foreground, damaged: list[str]) -> Iterator[Bundle]:
    """Yield new messages for the bundles on disk that no message names, because the Redis that held it was lost.

    A line about each bundle that cannot be read is added to `damaged`.
    """
    root = foreground.config.root
    with redis_of(foreground.config) as (client, keys):
        kinds = (Bundle, Remove, Unite, Recorded)
        orders = [decode(message.raw, *kinds) for message in waiting(client, keys, foreground.queue)]
    # bundles that are to be stored, and bundles that an older version stored and has yet to remove
    told = {order.file for order in orders if isinstance(order, Bundle | Remove)}
    for path, name, number in find_revisions(FeedFolders(root / "data/feeds")):
        if str(path.relative_to(root)) not in told:
            try:
                yield read_revision(path, name, number).message(root, "default")
            except BadBundle as error:
                damaged.append(f"{path} cannot be stored: {error}")
