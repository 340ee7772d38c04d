"""Messages of streams: events, gaps in what was captured, and the connections it came through."""

from __future__ import annotations

import functools
import re

import msgspec

from aggregator.config.hints import shorten
from aggregator.runtime.kinds import Kind

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,59}", re.ASCII)
YEAR_10000_MS = 253_402_300_800_000
NO_EVENT = msgspec.Raw(b"null")
_SHORT_BYTES = 4096
"""A connection that is shorter is told whole, which is easier to read."""


class Event(Kind, frozen=True, kw_only=True, tag="event"):
    """One message of a platform: an event such as a post, or a control message such as a deletion."""

    stream: str
    """The name of the stream: its section is [stream_NAME]."""
    received_ms: int
    """When it was received, in Unix milliseconds."""
    event: msgspec.Raw = NO_EVENT
    """The JSON text that the platform sent, byte for byte; line breaks between its tokens became blanks."""
    text: str = ""
    """What the platform sent, when that is no JSON, or JSON with half a character; `event` is null then."""
    type: str = ""
    """The type that the platform gave beside the message, such as SSE's `event`; empty when it gave none."""
    id: str = ""
    """The id that the platform gave beside the message, such as SSE's `id`; empty when it gave none."""

    def __post_init__(self) -> None:
        check_stream(self.stream)
        check_moment("received_ms", self.received_ms)
        event = bytes(self.event)
        if b"\n" in event or b"\r" in event:
            raise ValueError("line breaks in event; blanks must stand for them")

    @property
    def content(self) -> bytes:
        """What the platform sent, whether it is JSON or not."""
        return self.text.encode() if self.text and self.event == NO_EVENT else bytes(self.event)


class Gap(Kind, frozen=True, kw_only=True, tag="gap"):
    """A time in which events of a stream may be missing."""

    stream: str
    """The name of the stream: its section is [stream_NAME]."""
    from_ms: int
    """When it began, in Unix milliseconds: the last moment in which nothing was missing."""
    to_ms: int
    """When it ended, in Unix milliseconds."""
    cause: str
    """A word such as `disconnect`, `stall`, `limit`, `spool_full`, `rules`, `stopped`."""
    detail: str = ""
    """What is known besides, as one sentence; empty when nothing is."""
    lost: int | None = None
    """How many events are missing as far as is known or can be estimated; None when nothing is known."""

    def __post_init__(self) -> None:
        check_stream(self.stream)
        check_moment("from_ms", self.from_ms)
        check_moment("to_ms", self.to_ms)
        if self.to_ms < self.from_ms:
            raise ValueError(f"a gap that ends ({self.to_ms}) before it begins ({self.from_ms})")
        if not re.fullmatch("[a-z_]{1,40}", self.cause):
            raise ValueError(f"no cause (found {shorten(self.cause)}); allowed: a word of a-z and _")
        if self.lost is not None and not 0 <= self.lost < 1 << 53:
            raise ValueError(f"no number of lost events (found {self.lost})")


class Connection(Kind, frozen=True, kw_only=True, tag="connection"):
    """What was asked for from then on: a connection was made, or its rules changed."""

    stream: str
    """The name of the stream: its section is [stream_NAME]."""
    at_ms: int
    """When it was made, or its rules changed, in Unix milliseconds."""
    type: str
    """The `type` of the stream's section."""
    url: str
    """Where the platform was asked, without any secret."""
    filters: dict[str, str] = msgspec.field(default_factory=dict)
    """What the section or the rules asked for: `track`, `follow`, `locations`, `language`, `parameters`."""
    rules: tuple[dict[str, str], ...] = ()
    """The rules that were in force, each with its `rule_id`, `value` and what else is known; none when the section
    itself says what is wanted. Where `continues`, those that came to the others."""
    continues: bool = False
    """True for what is told as a change of what was asked for before: other rules on the same connection, a further
    part of many rules, or, in sidecars, a new connection with mostly the rules of the one before."""
    removed: tuple[dict[str, str], ...] = ()
    """Where `continues`, the rules that were in force no longer, as they were told before."""
    resumed_from: str = ""
    """The id behind which the platform was asked to go on; empty when it was not."""

    def __post_init__(self) -> None:
        check_stream(self.stream)
        check_moment("at_ms", self.at_ms)

    def after(self, change: Connection) -> Connection:
        """Return what is asked for after a change: the change itself where it is a new connection."""
        if not change.continues:
            return change
        rules = (*rules_without(self.rules, change.removed), *change.rules)
        return msgspec.structs.replace(
            self,
            rules=rules,
            at_ms=change.at_ms,
            filters=change.filters or self.filters,
            resumed_from=change.resumed_from or self.resumed_from,
        )

    def told_after(self, before: Connection) -> Connection:
        """Return this connection as a change of what was asked for before, where that is much shorter.

        `before.after` of it asks for what this one does. `filters` that are as they were are left out.
        """
        if self.size_bytes < _SHORT_BYTES or (self.type, self.url) != (before.type, before.url):
            return self
        if before.filters and not self.filters:
            return self  # no filters would be read as the same filters
        change = msgspec.structs.replace(
            self,
            continues=True,
            filters={} if self.filters == before.filters else self.filters,
            rules=rules_without(self.rules, before.rules),
            removed=rules_without(before.rules, self.rules),
        )
        return change if 2 * change.size_bytes < self.size_bytes else self

    @property
    def size_bytes(self) -> int:
        """How long it is as JSON."""
        return len(msgspec.json.encode(self))


class Recorded(Kind, frozen=True, kw_only=True, tag="recorded"):
    """A file of a stream is finished."""

    stream: str
    """The name of the stream: its section is [stream_NAME]."""
    file: str
    """The file, relative to the instance's folder if it lies there."""
    sidecar: str
    """The file beside it that says what is in it."""
    sha256: str
    size_bytes: int
    count: int
    """How many events it has."""
    first_ms: int
    """When its first event was received, in Unix milliseconds."""
    last_ms: int
    """When its last event was received, in Unix milliseconds."""

    def __post_init__(self) -> None:
        check_stream(self.stream)
        check_moment("first_ms", self.first_ms)
        check_moment("last_ms", self.last_ms)


def rules_without(rules: tuple[dict[str, str], ...], others: tuple[dict[str, str], ...]) -> tuple[dict[str, str], ...]:
    """Return the rules that are not among others."""
    # thousands are compared with thousands, in a thread that has a stream to read
    known = {frozenset(rule.items()) for rule in others}
    return tuple(rule for rule in rules if frozenset(rule.items()) not in known)


@functools.lru_cache(1000)
def check_stream(name: str) -> None:
    """Raise ValueError unless a text can be a stream's name."""
    if not NAME.fullmatch(name):
        raise ValueError(f"no stream's name (found {shorten(name)}); allowed: letters, digits, _ . - (at most 60)")


def check_moment(field: str, moment_ms: int) -> None:
    """Raise ValueError unless a time in Unix milliseconds lies between 1970 and 9999."""
    if not 0 <= moment_ms < YEAR_10000_MS:
        raise ValueError(f"no time between 1970 and 9999 in {field} (found {moment_ms})")
