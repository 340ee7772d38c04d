"""What `download` and `filter` hand on, and the tick that circulates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from aggregator.errors import Reject
from aggregator.feeds.manifest import Tick

LONGEST_ROW = 1_000_000
"""Ticks missed in a row that one message may tell of: eleven days of a tick every second."""

_T = TypeVar("_T", bound=msgspec.Struct)


class Validators(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the last whole answer said of itself, to be asked whether there is something newer."""

    url: str
    """A hash of the source it belongs to: the address, and what the configuration says of it."""
    etag: str = ""
    modified: str = ""


class DueTick(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The next download of a feed. There is one of these for each feed, and it carries the feed's state."""

    feed: str
    planned_ms: int
    chain: int = 0
    """When the feed's first tick was sent, in Unix milliseconds; of two ticks of a feed the younger chain stands."""
    failures: int = 0
    """In a row."""
    wait_until_ms: int = 0
    """Ticks planned before this are not tried."""
    why: str = ""
    """Why they are not."""
    failing: str = ""
    """A hash of the source that these three are about."""
    kills: int = 0
    """How often a worker vanished while it held this tick."""
    validators: Validators | None = None
    once: bool = False
    """True for a download beside the planned ones: no other tick follows it."""


class Downloaded(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What became of a tick, or of a row of missed ones, and all that later stages need to know of its feed."""

    feed: str
    url: str
    """With secrets hidden."""
    period_ms: int
    extension: str
    timestamp: str
    format: str
    stale_after_ms: int = 0
    tick: Tick | None = None
    """`ok` means here: a body has come. Whether it is a publication is the filter's to say."""
    file: str = ""
    """The body, from the instance's folder; empty when none came."""
    headers: Mapping[str, str] = {}
    final_url: str = ""
    """Where redirects led to, when they did."""
    missed_from_ms: int | None = None
    missed_to_ms: int | None = None


class Filtered(msgspec.Struct, frozen=True, kw_only=True):
    """What the filter tells of a tick."""

    feed: str
    tick: Tick
    publication: str
    """The name of its file; empty when the tick brought no new publication."""
    published_ms: int | None
    url: str
    period_ms: int
    node: str


class Missed(msgspec.Struct, frozen=True, kw_only=True):
    """Ticks missed in a row: one every `period_ms`, from the first to the last, both included."""

    feed: str
    missed_from_ms: int
    missed_to_ms: int
    url: str
    period_ms: int
    node: str


def decode(raw: bytes, kind: type[_T]) -> _T:
    """Return the message of a kind. Raises Reject when it is none."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as error:
        raise Reject(f"no {kind.__name__}: {error} (found {raw[:60]!r})") from error


def encode(message: msgspec.Struct) -> bytes:
    """Return the body of a message."""
    return msgspec.json.encode(message)
