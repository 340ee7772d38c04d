"""`testrun`: run every stage of feeds once, now, and report whether the configuration collects what it should."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from aggregator.commands import oneshot_bundles, screen
from aggregator.commands.foreground import Foreground
from aggregator.commands.invocation import Failed, Invocation
from aggregator.commands.oneshot import work_until
from aggregator.commands.screen import Column, Painted
from aggregator.config.configuration import Config
from aggregator.errors import EXIT_CHECK_FAILED, EXIT_OK, Unavailable
from aggregator.feeds.bundle.manifest import COVERED, Tick
from aggregator.feeds.messages.reading import decode
from aggregator.feeds.messages.ticks import Downloaded, DueTick, Filtered
from aggregator.feeds.query.feedfacts import FeedFacts, look
from aggregator.monitor.opening import redis_of
from aggregator.runtime.contract import Cursor, Outcome, Send
from aggregator.runtime.kinds import encode
from aggregator.runtime.message import Message

_COLUMNS = (Column("FEED"), Column("OUTCOME"), Column("PUBLISHED (UTC)"), Column("TODAY", True), Column(""))


def add_testrun(parser: argparse.ArgumentParser) -> None:
    """Declare `testrun`."""
    parser.set_defaults(run=_testrun)


def _testrun(invocation: Invocation, args: argparse.Namespace) -> int:
    config = invocation.config()
    feeds = config.table("feed").all()
    if not feeds:
        raise Failed("no feeds; a section [feed_NAME] makes one")
    _refuse_beside_workers(invocation, config)
    stages = [program.stage_name for program in config.programs.values()]
    now_ms = int(time.time() * 1000)
    _download_once(invocation, list(feeds), now_ms)
    ticks = _filter(invocation, now_ms)
    with redis_of(config) as (client, keys):
        facts = look(config, feeds, client, keys, time.time())
    rows = [_row(one, ticks.get(one.feed.name)) for one in facts]
    print(screen.table(_COLUMNS, rows, colours=screen.colours_wanted(sys.stdout)))
    good = sum(feed in ticks and ticks[feed].outcome in COVERED for feed in feeds)
    print(f"{good} of {len(facts)} feeds answered with what they should")
    if "compress" in stages:
        oneshot_bundles.compress(invocation, argparse.Namespace(all=True))
    if "archive" in stages:
        oneshot_bundles.archive(invocation, argparse.Namespace(prefix=None))
    return EXIT_OK if good == len(facts) else EXIT_CHECK_FAILED


def _refuse_beside_workers(invocation: Invocation, config: Config) -> None:
    """Raise Failed when a stage is missing or its worker is at work, before any feed is asked or queue is filled."""
    there = {program.stage_name for program in config.programs.values()}
    with redis_of(config) as (client, keys):
        for stage_name in ("download", "filter", *(name for name in ("compress", "archive") if name in there)):
            Foreground(invocation, stage_name).refuse_beside_another(client, keys)


def _download_once(invocation: Invocation, feeds: list[str], now_ms: int) -> None:
    """Download each feed once now, in addition to its planned times."""
    foreground = Foreground(invocation, "download")
    foreground.push(*(encode(DueTick(feed=feed, planned_ms=now_ms, once=True)) for feed in feeds))
    # this does not wait for an empty queue, because the planned ticks of feeds that are under way go on in it
    waiting = set(feeds)
    work_until(foreground, _for_once(foreground.program.stage_class, now_ms, waiting), lambda _: not waiting)


def _for_once(stage_class: Any, planned_ms: int, waiting: set[str]) -> Any:
    """Return a stage that starts no series of ticks, which would outlive the test, and takes feeds off `waiting`."""

    class ForOnce(stage_class):  # type: ignore[misc]
        def seed(self) -> Iterator[Send | Cursor]:
            return iter(())

        def handle(self, message: Message) -> Iterator[Outcome]:
            due, comes_again = decode(message.raw, DueTick), False
            try:
                yield from super().handle(message)
            except Unavailable:
                comes_again = True
                raise
            finally:
                if due.once and due.planned_ms == planned_ms and not comes_again:
                    waiting.discard(due.feed)

    return ForOnce


def _filter(invocation: Invocation, planned_ms: int) -> dict[str, Tick]:
    """Filter the downloads, and return the ticks of this test by their feeds.

    The last tick of a feed may be another one: a planned tick that came after the test's and was late, which says
    nothing about the feed.
    """
    foreground = Foreground(invocation, "filter")
    ticks: dict[str, Tick] = {}
    foreground.drain(stage_class=_for_notes(foreground.program.stage_class, planned_ms, ticks))
    return ticks


def _for_notes(stage_class: Any, planned_ms: int, ticks: dict[str, Tick]) -> Any:
    """Return a stage that notes in `ticks` the results of the ticks planned for `planned_ms`."""

    class ForNotes(stage_class):  # type: ignore[misc]
        def handle(self, message: Message) -> Iterator[Outcome]:
            told = decode(message.raw, Downloaded)
            for outcome in super().handle(message):
                if told.tick is not None and told.tick.planned_ms == planned_ms:
                    ticks[told.feed] = decode(outcome.body, Filtered).tick
                yield outcome

    return ForNotes


def _row(facts: FeedFacts, tick: Tick | None) -> list[str | Painted]:
    state = facts.state
    published = ""
    if state.published_ms:
        published = f"{datetime.fromtimestamp(state.published_ms / 1000, timezone.utc):%Y-%m-%d %H:%M:%S}"
    return [
        facts.feed.name,
        Painted(tick.outcome, "green" if tick.outcome in COVERED else "red") if tick else Painted("nothing", "red"),
        published,
        screen.amount(facts.day_bytes[0]),
        screen.one_line(tick.error if tick else "", 80),
    ]
