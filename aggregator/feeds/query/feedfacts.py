"""The current state of every feed, from the cursors and ticks of its stages in Redis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from aggregator.config.configuration import Config
from aggregator.errors import Reject
from aggregator.feeds.filtering.state import ARCHIVED, DAY_MS, FeedState, decode_state
from aggregator.feeds.filtering.state import CURSOR as STATE
from aggregator.feeds.messages.reading import decode
from aggregator.feeds.messages.ticks import DueTick
from aggregator.feeds.naming.stamps import read_stamp
from aggregator.feeds.settings.table import Feed
from aggregator.runtime.keys import Keys, resolve
from aggregator.runtime.reading import cursors_of, waiting
from aggregator.runtime.schedule import read_begun

Complaint = Literal["stale", "frozen"]


class FeedFacts(NamedTuple):
    """The current state of one feed. Times are Unix milliseconds, 0 when there is none."""

    feed: Feed
    state: FeedState
    begun_ms: int
    """When the feed's schedule last began."""
    due: DueTick | None
    """The feed's next tick; None while that tick is under way, or when no stage downloads the feed."""
    now_ms: int
    archived_until_ms: int = 0
    """The end of the newest period whose bundle is in the store."""

    @property
    def complaint(self) -> Complaint | None:
        """`stale`: no answer for too long; `frozen`: the server answers, but always the same."""
        limit_ms = round(self.feed.stale_after_s * 1000)
        since_ms = self.state.answered_ms or self.begun_ms
        if limit_ms and since_ms and self.now_ms - since_ms >= limit_ms:
            return "stale"
        return "frozen" if self.state.is_frozen(self.now_ms, limit_ms) else None

    @property
    def day_bytes(self) -> tuple[int, int]:
        """The bytes of publications of today and of yesterday."""
        today = self.now_ms // DAY_MS
        if self.state.day == today:
            return self.state.day_bytes, self.state.last_day_bytes
        return 0, self.state.day_bytes if self.state.day == today - 1 else 0


def look(config: Config, feeds: Mapping[str, Feed], client: Any, keys: Keys, now: float) -> list[FeedFacts]:
    """Return the facts of all configured feeds, by name."""
    states = {name: decode_state(text) for name, text in _cursors(config, client, keys, "filter", STATE)}
    begun = {name: read_begun(text).at_ms for name, text in _cursors(config, client, keys, "download", "feed:")}
    # of several timers of a feed the youngest generation counts
    due = {tick.feed: tick for tick in sorted(_due(config, client, keys), key=lambda tick: tick.chain)}
    until = _archived(config, client, keys)
    return [
        FeedFacts(
            feed, states.get(name, FeedState()), begun.get(name, 0), due.get(name), int(now * 1000), until.get(name, 0)
        )
        for name, feed in sorted(feeds.items())
    ]


def _archived(config: Config, client: Any, keys: Keys) -> dict[str, int]:
    """Return for each feed until when it is archived, by any process of `archive`."""
    bundles = [program.settings.bundle for program in config.programs.values() if program.stage_name == "compress"]
    found: dict[str, int] = {}
    for name, start in _cursors(config, client, keys, "archive", ARCHIVED):
        feed = name.partition(":")[2]
        found[feed] = max(found.get(feed, 0), (read_stamp(start) + max(bundles, default=0)) * 1000)
    return found


def _cursors(config: Config, client: Any, keys: Keys, stage: str, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of a stage's cursors that begin with `prefix`; names are given without the prefix."""
    for program in config.programs.values():
        if program.stage_name == stage:
            yield from cursors_of(client, keys, f"{config.node}:{program.section}", prefix).items()


def _due(config: Config, client: Any, keys: Keys) -> Iterator[DueTick]:
    """Yield the ticks that wait for their planned time, or for a worker."""
    for program in config.programs.values():
        if program.stage_name == "download" and program.listens:
            for message in waiting(client, keys, resolve(program.listens, config.node)):
                try:
                    yield decode(message.raw, DueTick)
                except Reject:
                    continue  # a message of another kind, which the stage will reject
