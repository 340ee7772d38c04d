"""What the commands on rules share: which sets, who changes them, and their Redis."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from aggregator.commands.invocation import Failed
from aggregator.config.configuration import Config
from aggregator.config.redisurl import mask
from aggregator.runtime.connection import AWAY, REFUSED
from aggregator.streams.rules.changes import Author
from aggregator.streams.rules.names import ORIG_TYPES, SetName, parse_set_name
from aggregator.streams.rules.stored import open_rules, set_names


def add_sets(parser: argparse.ArgumentParser) -> None:
    """Give a command the argument that names rule sets; without a name it is about all."""
    parser.add_argument(
        "sets", metavar="SET", nargs="*", type=read_set, help="TYPE:ID, such as track:0 (default: all there are)"
    )


def add_author(parser: argparse.ArgumentParser) -> None:
    """Give a command that changes rules the options that its history keeps."""
    parser.add_argument("--who", metavar="NAME", help="who changes them (default: your user name)")
    parser.add_argument("--why", metavar="TEXT", default="", help="why, for the history")


def author_of(args: argparse.Namespace) -> Author:
    """Return who changes rules, and why."""
    return Author(args.who or getpass.getuser(), args.why)


def read_set(text: str) -> SetName:
    """Return the rule set that a text names. Raises ArgumentTypeError."""
    try:
        return parse_set_name(text)
    except ValueError:
        words = f"needs TYPE:ID with a type of {', '.join(ORIG_TYPES)}, such as track:0 (found {text!r})"
        raise argparse.ArgumentTypeError(words) from None


@contextmanager
def rules_redis(config: Config) -> Iterator[Any]:
    """Open the Redis of the rules. Raises Failed with one clear line when it does not serve us."""
    place = mask(config.rules.url)
    try:
        with open_rules(config.rules) as client:
            yield client
    except REFUSED as error:
        raise Failed(f"the Redis of the rules at {place} refuses us: {error}; check the url in [rules]") from error
    except AWAY as error:
        words = f"is away: {str(error).rstrip('.')}; start it, or correct the url in [rules]"
        raise Failed(f"the Redis of the rules at {place} {words}") from error


def known_sets(client: Any, wanted: Sequence[SetName]) -> list[SetName]:
    """Return the sets asked for, or all there are."""
    return list(dict.fromkeys(wanted)) or set_names(client)
