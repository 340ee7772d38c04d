"""The messages about ticks that the stages of feeds send, and the timer of a feed's next tick."""

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
    """The validators of the last complete answer, to ask the server whether there is a newer one."""

    url: str
    """A hash of the source that they belong to: the address and the configuration of the request."""
    etag: str = ""
    modified: str = ""
    sha: str = ""
    """The first 16 digits of the SHA-256 of the body that they came with."""


class DueTick(Kind, frozen=True, omit_defaults=True, kw_only=True, tag="due"):
    """The next download of a feed. Each feed has one such message, which carries the feed's state."""

    feed: str
    planned_ms: Moment
    chain: Moment = 0
    """The generation of the feed's timer: when it began, in Unix milliseconds. Of two ticks of a feed the one of the
    later generation counts, and the other ends."""
    failures: Count = 0
    """The number of failures in a row."""
    wait_until_ms: Moment = 0
    """Ticks planned before this time are not tried."""
    why: str = ""
    """Why those ticks are not tried."""
    failing: str = ""
    """A hash of the source that `failures`, `wait_until_ms` and `why` are about."""
    kills: Count = 0
    """How often a worker vanished while it held this tick."""
    validators: Validators | None = None
    once: bool = False
    """True for a download outside the plan, which no other tick follows."""

    def __post_init__(self) -> None:
        check_feed(self.feed)


class Downloaded(Kind, frozen=True, omit_defaults=True, kw_only=True, tag="downloaded"):
    """The outcome of a tick, or a row of missed ticks, with the feed's configuration at that time."""

    feed: str
    url: str
    """The address, with secrets hidden."""
    period_ms: Period
    extension: str
    timestamp: str
    format: str
    stale_after_ms: Count = 0
    tick: Tick | None = None
    """The outcome `ok` means here that a body has come. The filter decides whether the body is a publication."""
    file: str = ""
    """The path of the body relative to the instance's folder; empty when none came."""
    headers: Mapping[str, str] = {}
    final_url: str = ""
    """The address that redirects led to; empty without redirects."""
    missed_from_ms: Moment | None = None
    missed_to_ms: Moment | None = None
    found: bool = False
    """True when the body was found without a message, and this message was made from the facts on the disk."""

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
    """The filter's decision on a tick."""

    feed: str
    tick: Tick
    publication: str
    """The name of the publication's file; empty when the tick brought no new publication."""
    published_ms: Moment | None
    url: str
    period_ms: Period
    node: str
    instance: str = ""
    """The id of the instance that handled the tick; empty when it is not known."""

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
    """The id of the instance that handled the tick; empty when it is not known."""

    def __post_init__(self) -> None:
        check_feed(self.feed)
        check_node(self.node)
        check_instance(self.instance)
        check_row(self.missed_from_ms, self.missed_to_ms, self.period_ms)


def _check_download(told: Downloaded, tick: Tick) -> None:
    """Raise ValueError unless the file has the name of this tick's body."""
    check_sha256(tick.sha256)
    named = parse_download(told.file.rpartition("/")[2])
    if named != (told.feed, tick.planned_ms, tick.sha256[:8], told.extension):
        raise ValueError(f"no file of this tick's body (found {shorten(told.file, 200)})")
