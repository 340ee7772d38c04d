"""What the stages of feeds tell of ticks, and the timer of a feed's next one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from aggregator.config.hints import shorten
from aggregator.feeds.bundle.manifest import MIN_TICK_MS, Tick
from aggregator.feeds.messages.checks import (
    LONGEST_PERIOD_MS,
    check_feed,
    check_instance,
    check_node,
    check_row,
    check_sha256,
    check_tick,
)
from aggregator.feeds.naming.feednames import parse_extension
from aggregator.feeds.naming.publications import parse_download, parse_publication
from aggregator.feeds.reading.dates import YEAR_10000
from aggregator.runtime.kinds import Kind

Moment = Annotated[int, msgspec.Meta(ge=0, lt=YEAR_10000 * 1000)]
"""Unix milliseconds."""
Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
Period = Annotated[int, msgspec.Meta(ge=MIN_TICK_MS, le=LONGEST_PERIOD_MS)]
"""How often a feed is downloaded, in milliseconds."""


class Validators(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the last whole answer said of itself, to be asked whether there is something newer."""

    url: str
    """A hash of the source it belongs to: the address, and what the configuration says of it."""
    etag: str = ""
    modified: str = ""
    sha: str = ""
    """How the SHA-256 of the body begins that they came with: 16 digits."""


class DueTick(Kind, frozen=True, omit_defaults=True, kw_only=True, tag="due"):
    """The next download of a feed. There is one of these for each feed, and it carries the feed's state."""

    feed: str
    planned_ms: Moment
    chain: Moment = 0
    """When the feed's first tick was sent, in Unix milliseconds; of two ticks of a feed the younger chain stands."""
    failures: Count = 0
    """In a row."""
    wait_until_ms: Moment = 0
    """Ticks planned before this are not tried."""
    why: str = ""
    """Why they are not."""
    failing: str = ""
    """A hash of the source that these three are about."""
    kills: Count = 0
    """How often a worker vanished while it held this tick."""
    validators: Validators | None = None
    once: bool = False
    """True for a download beside the planned ones: no other tick follows it."""

    def __post_init__(self) -> None:
        check_feed(self.feed)


class Downloaded(Kind, frozen=True, omit_defaults=True, kw_only=True, tag="downloaded"):
    """What became of a tick, or of a row of missed ones, and what its feed was configured as then."""

    feed: str
    url: str
    """With secrets hidden."""
    period_ms: Period
    extension: str
    timestamp: str
    format: str
    stale_after_ms: Count = 0
    tick: Tick | None = None
    """`ok` means here: a body has come. Whether it is a publication is the filter's to say."""
    file: str = ""
    """The body, from the instance's folder; empty when none came."""
    headers: Mapping[str, str] = {}
    final_url: str = ""
    """Where redirects led to, when they did."""
    missed_from_ms: Moment | None = None
    missed_to_ms: Moment | None = None
    found: bool = False
    """True for a body that lay there without a message: this one was made from what is known of it."""

    def __post_init__(self) -> None:
        check_feed(self.feed)
        try:
            parse_extension(self.extension)
        except ValueError:
            raise ValueError(f"bad extension (found {shorten(self.extension)})") from None
        if self.tick is None:
            check_row(self.missed_from_ms, self.missed_to_ms, self.period_ms)
            return
        check_tick(self.tick)
        if (self.tick.outcome == "ok") != bool(self.file):
            raise ValueError(f"a tick with outcome {self.tick.outcome} and file {shorten(self.file)}")
        if self.file:
            _check_download(self, self.tick)


class Filtered(Kind, frozen=True, kw_only=True, tag="filtered"):
    """What the filter tells of a tick."""

    feed: str
    tick: Tick
    publication: str
    """The name of its file; empty when the tick brought no new publication."""
    published_ms: Moment | None
    url: str
    period_ms: Period
    node: str
    instance: str = ""
    """The id of the instance that this node was, empty where nobody knows."""

    def __post_init__(self) -> None:
        check_feed(self.feed)
        check_node(self.node)
        check_instance(self.instance)
        check_tick(self.tick)
        if not self.publication:
            return
        publication = parse_publication(self.publication)
        if publication.feed != self.feed:
            raise ValueError(f"no publication of {shorten(self.feed)} (found {shorten(self.publication)})")
        if self.published_ms is None or publication.published_at != self.published_ms // 1000:
            raise ValueError(f"{shorten(self.publication)} is of another time than published_ms {self.published_ms}")


class Missed(Kind, frozen=True, kw_only=True, tag="missed"):
    """Ticks missed in a row: one every `period_ms`, from the first to the last, both included."""

    feed: str
    missed_from_ms: Moment
    missed_to_ms: Moment
    url: str
    period_ms: Period
    node: str
    instance: str = ""
    """The id of the instance that this node was, empty where nobody knows."""

    def __post_init__(self) -> None:
        check_feed(self.feed)
        check_node(self.node)
        check_instance(self.instance)
        check_row(self.missed_from_ms, self.missed_to_ms, self.period_ms)


def _check_download(told: Downloaded, tick: Tick) -> None:
    """Raise ValueError unless the file is named as the body of this tick is."""
    check_sha256(tick.sha256)
    named = parse_download(told.file.rpartition("/")[2])
    if named != (told.feed, tick.planned_ms, tick.sha256[:8], told.extension):
        raise ValueError(f"no file of this tick's body (found {shorten(told.file, 200)})")
