"""`feeds list`: how every feed is doing."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime, timezone
from typing import Any

from aggregator.commands import screen
from aggregator.commands.feeds_options import add_feeds_wanted, unmet, wanted_by
from aggregator.commands.invocation import Failed, Invocation, add_json, redis_of
from aggregator.commands.screen import Column, Painted
from aggregator.config.settings import meant
from aggregator.errors import EXIT_OK
from aggregator.feeds.query.overview import FeedFacts, look

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


def complaint_of(facts: FeedFacts) -> str:
    """Return what is wrong with a feed in words; empty when nothing is."""
    state = facts.state
    if facts.complaint == "stale":
        since = _age(facts, state.answered_ms)
        words = f"stale: no good answer for {since}" if state.answered_ms else "stale: never a good answer"
        return f"{words}; {screen.one_line(state.error, _REMARK_WIDTH)}" if state.error else words
    if facts.complaint == "frozen":
        return f"frozen: answers, with the same contents for {_age(facts, state.changed_ms)}"
    return ""


def as_json(facts: FeedFacts) -> dict[str, Any]:
    """Return everything about a feed for programs; times are Unix milliseconds."""
    state, due = facts.state, facts.due
    today, yesterday = facts.day_bytes
    return {
        "feed": facts.feed.name,
        "url": facts.feed.shown_url,
        "period_ms": facts.feed.period_ms,
        "last_tick_ms": state.planned_ms or None,
        "last_outcome": state.outcome or None,
        "last_error": state.error or None,
        "last_success_ms": state.answered_ms or None,
        "content_changed_ms": state.changed_ms or None,
        "published_ms": state.published_ms or None,
        "bytes_today": today,
        "bytes_yesterday": yesterday,
        "archived_until_ms": facts.archived_until_ms or None,
        "next_tick_ms": due.planned_ms if due else None,
        "not_tried_until_ms": due.wait_until_ms or None if due else None,
        "complaint": facts.complaint,
    }


def _row(facts: FeedFacts) -> list[str | Painted]:
    state = facts.state
    today, yesterday = facts.day_bytes
    return [
        facts.feed.name,
        screen.age(facts.feed.period_ms / 1000),
        Painted(state.outcome or screen.NOTHING, _COLOURS.get(state.outcome, "yellow")),
        _age(facts, state.answered_ms),
        _age(facts, state.changed_ms),
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


def _age(facts: FeedFacts, moment_ms: int) -> str:
    return screen.age(max(0.0, (facts.now_ms - moment_ms) / 1000)) if moment_ms else screen.NOTHING


def _moment(moment_ms: int) -> str:
    return f"{datetime.fromtimestamp(moment_ms / 1000, timezone.utc):%Y-%m-%d %H:%M}" if moment_ms else screen.NOTHING


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes else screen.NOTHING
