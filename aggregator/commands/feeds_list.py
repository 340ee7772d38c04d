"""`feeds list`: show how every feed is doing."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime, timezone

from aggregator.commands import screen
from aggregator.commands.feeds_options import add_feeds_wanted, unmet, wanted_by
from aggregator.commands.invocation import Failed, Invocation, add_json
from aggregator.commands.screen import Column, Painted
from aggregator.config.hints import meant
from aggregator.errors import EXIT_OK
from aggregator.feeds.query.feedfacts import FeedFacts, look
from aggregator.feeds.query.overview import age_at, as_json, complaint_of
from aggregator.monitor.opening import redis_of

_REMARK_WIDTH = 80
_COLUMNS = (
    Column("FEED"),
    Column("EVERY", True),
    Column("LAST"),
    Column("SUCCESS", True),
    Column("CONTENT", True),
    Column("TODAY", True),
    Column("YESTERDAY", True),
    Column("ARCHIVED UNTIL"),
    Column("NEXT", True),
    Column(""),
)
_COLOURS = {"ok": "green", "same": "green", "not_modified": "green", "invalid": "red", "failed": "red"}


def add_list(parser: argparse.ArgumentParser) -> None:
    """Declare `feeds list`."""
    add_feeds_wanted(parser)
    add_json(parser)
    parser.set_defaults(run=_list)


def _list(invocation: Invocation, args: argparse.Namespace) -> int:
    config = invocation.config(reading=True)
    wanted = wanted_by(args.feeds)
    every = config.table("feed").all()
    feeds = {name: feed for name, feed in every.items() if wanted(name)}
    pattern = unmet(args.feeds, feeds)
    if pattern is not None:
        raise Failed(f"no feed {pattern!r}{meant(pattern, list(every))}")
    with redis_of(config) as (client, keys):
        facts = look(config, feeds, client, keys, time.time())
    if args.json:
        screen.print_json({"feeds": [as_json(one) for one in facts]})
    elif facts:
        print(screen.table(_COLUMNS, [_row(one) for one in facts], colours=screen.colours_wanted(sys.stdout)))
    else:
        invocation.say("no feeds; a section [feed_NAME] makes one")
    return EXIT_OK


def _row(facts: FeedFacts) -> list[str | Painted]:
    state = facts.state
    today, yesterday = facts.day_bytes
    return [
        facts.feed.name,
        screen.age(facts.feed.period_ms / 1000),
        Painted(state.outcome or screen.NOTHING, _COLOURS.get(state.outcome, "yellow")),
        age_at(facts, state.answered_ms),
        age_at(facts, state.changed_ms),
        _megabytes(today),
        _megabytes(yesterday),
        _moment(facts.archived_until_ms),
        _next(facts),
        Painted(_remark(facts), "red" if facts.complaint else ""),
    ]


def _remark(facts: FeedFacts) -> str:
    waits = facts.due is not None and facts.due.wait_until_ms > facts.now_ms
    parts = [complaint_of(facts), f"waits: {facts.due.why}" if waits and facts.due else ""]
    if not any(parts) and facts.state.outcome in ("failed", "invalid"):
        parts.append(facts.state.error)
    return screen.one_line("; ".join(part for part in parts if part), _REMARK_WIDTH)


def _next(facts: FeedFacts) -> str:
    if facts.due is None:
        return screen.NOTHING
    at_ms = max(facts.due.planned_ms, facts.due.wait_until_ms)
    return "now" if at_ms <= facts.now_ms else screen.age((at_ms - facts.now_ms) / 1000)


def _moment(moment_ms: int) -> str:
    return f"{datetime.fromtimestamp(moment_ms / 1000, timezone.utc):%Y-%m-%d %H:%M}" if moment_ms else screen.NOTHING


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes else screen.NOTHING
