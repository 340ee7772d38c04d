"""The overview of feeds, as shown by `status`, `health`, `feeds list` and the status page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from aggregator.config.configuration import Config
from aggregator.config.hints import counted
from aggregator.feeds.query.feedfacts import FeedFacts, look
from aggregator.monitor.collecting import START, are
from aggregator.monitor.finding import Finding
from aggregator.monitor.overviews import Line
from aggregator.monitor.words import NOTHING, age, one_line
from aggregator.runtime.keys import Keys

_NO_ANSWER = ("failed", "invalid")
"""The outcomes of ticks that brought nothing because of the feed."""
_ERROR_WIDTH = 80
_UNDER_WAY_MS = 120_000
"""How long a tick may be under way, besides three periods, before a feed counts as forgotten."""
_SHOWN = 20


class FeedOverview:
    """All configured feeds (a `monitor.overviews.Overview`)."""

    name = "feeds"

    def amount(self, config: Config) -> str:
        """Return how many feeds there are."""
        number = len(config.table("feed").all())
        return counted(number, "feed")

    def look(self, config: Config, client: Any, keys: Keys, now: float) -> list[FeedFacts]:
        """Return the facts of each feed."""
        feeds = config.table("feed").all()
        return look(config, feeds, client, keys, now) if feeds else []

    def lines(self, rows: Sequence[FeedFacts]) -> Iterator[Line]:
        """Yield a line with the number of feeds, and a line for each feed that is stale or frozen."""
        wrong = [facts for facts in rows if facts.complaint]
        counts = Counter(facts.complaint for facts in wrong)
        words = "".join(f", {count:,} {complaint}" for complaint, count in sorted(counts.items()))
        yield Line(f"{counted(len(rows), 'feed')}{words}; `run/aggregator feeds list` shows each")
        for facts in wrong[:_SHOWN]:
            yield Line(f"  {facts.feed.name}: {complaint_of(facts)}", wrong=True)
        if len(wrong) > _SHOWN:
            yield Line(f"  and {len(wrong) - _SHOWN:,} more")

    def as_json(self, row: FeedFacts) -> dict[str, Any]:
        """Return everything about a feed."""
        return as_json(row)

    def findings(self, config: Config, rows: Sequence[FeedFacts], now: float) -> Iterator[Finding]:
        """Yield a finding for each feed that is stale, frozen or failing."""
        for facts in rows:
            yield from _findings(config, facts, now)

    def idle(self, config: Config, enabled: Callable[[str], bool]) -> Iterator[Finding]:
        """Yield a finding for feeds that no section downloads, and for download sections without feeds."""
        return _idle(config, len(config.table("feed").all()), enabled)


OVERVIEW = FeedOverview()


def complaint_of(facts: FeedFacts) -> str:
    """Return the complaint about a feed in words; empty when there is none."""
    state = facts.state
    if facts.complaint == "stale":
        since = age_at(facts, state.answered_ms)
        words = f"stale: no good answer for {since}" if state.answered_ms else "stale: never a good answer"
        return f"{words}; {one_line(state.error, _ERROR_WIDTH)}" if state.error else words
    if facts.complaint == "frozen":
        return f"frozen: answers, with the same contents for {age_at(facts, state.changed_ms)}"
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


def _findings(config: Config, facts: FeedFacts, now: float) -> Iterator[Finding]:
    about, text = f"feed_{facts.feed.name}", complaint_of(facts)
    last_ms = max(facts.state.planned_ms, facts.begun_ms)
    overdue_ms = facts.now_ms - last_ms - 3 * facts.feed.period_ms - _UNDER_WAY_MS
    if facts.due is None and last_ms and overdue_ms > 0:
        words = f"no download is planned; the last one was {age_at(facts, last_ms)} ago"
        do = "Restart the section with stage = download: it finds feeds without a timer, and begins them anew."
        yield Finding("feed_not_scheduled", "error", about, words, last_ms / 1000, do)
    if facts.complaint == "stale":
        since_ms = facts.state.answered_ms or facts.begun_ms
        do = "See whether its url still answers; if it is gone for good, take the feed out."
        yield Finding("feed_stale", "error", about, text, since_ms / 1000, do)
    elif facts.complaint == "frozen":
        # a warning only, as the collector works and the publisher has to act
        do = "Tell its publisher; a feed that rarely changes gets a longer stale_after."
        yield Finding("feed_frozen", "warning", about, text, facts.state.changed_ms / 1000, do)
    elif facts.state.outcome in _NO_ANSWER:
        since = (facts.state.answered_ms or facts.begun_ms) / 1000
        if since and now - since >= config.aggregator.outage_after:
            words = f"no good answer for {age(now - since)}: {one_line(facts.state.error, 100)}"
            do = "See whether its url answers and `timestamp` fits; after its `stale_after` it counts as stale."
            yield Finding("feed_failing", "error", about, words, since, do)


def _idle(config: Config, feeds: int, enabled: Callable[[str], bool]) -> Iterator[Finding]:
    downloads = [p.section for p in config.programs.values() if p.stage_name == "download"]
    running = [section for section in downloads if enabled(section)]
    count = "1 feed is" if feeds == 1 else f"{feeds:,} feeds are"
    if feeds and not downloads:
        text = f"{count} configured, and no section downloads them"
        do = "Add a section [worker_download] with stage = download to loglines.cfg, or take the feeds out."
        yield Finding("feeds_not_downloaded", "error", "feeds", text, None, do)
    elif feeds and not running:
        text = f"{count} configured, and {are(downloads, 'not enabled')}"
        do = START.format(downloads[0])
        yield Finding("feeds_not_downloaded", "error", "feeds", text, None, do)
    if not feeds:
        for section in running:
            do = "Add a section [feed_NAME], or feeds_file in [aggregator], to loglines.cfg; or disable it."
            yield Finding("download_without_feeds", "error", section, "downloads nothing: no feeds", None, do)


def age_at(facts: FeedFacts, moment_ms: int) -> str:
    """Return how long before the reading of the facts a moment was."""
    return age(max(0.0, (facts.now_ms - moment_ms) / 1000)) if moment_ms else NOTHING
