"""The filter's state of each feed: the basis of its decisions, and the facts that `feeds list` shows.

The state is the cursor `feed:NAME` of the filter. It is stored in the same step as the messages that follow from it.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from aggregator.feeds.reading.dates import FAR_S

CURSOR = "feed:"
ARCHIVED = "archived:"
"""The prefix of the cursors of `archive` that hold the start of the newest stored period: `archived:PROCESS:FEED`."""
REMEMBERED = 12
"""How many publications of a feed are recognized when they come again; servers behind one address lag by one or two."""
FOUND = 100
FUTURE_MS = 3_600_000
DAY_MS = 86_400_000


class Known(NamedTuple):
    """A publication that came before."""

    sha: str
    """The first 16 digits of the SHA-256."""
    published_ms: int
    content: str
    """The hash of the entities; the same as `sha` for a feed without entities."""


class FeedState(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The state of a feed. Times are Unix milliseconds."""

    recent: tuple[Known, ...] = ()
    """The last publications, the latest at the end."""
    newest_ms: int = 0
    """The greatest timestamp so far, without timestamps that were in the future."""
    content: str = ""
    changed_ms: int = 0
    """When the contents were last seen to have changed."""
    outcome: str = ""
    """The outcome of the last tick; `error` is its error."""
    error: str = ""
    refused: str = ""
    """Why the last body was invalid; empty when it was valid."""
    planned_ms: int = 0
    """When the last tick was planned."""
    answered_ms: int = 0
    """When a tick last succeeded: ok, same or not_modified."""
    published_ms: int = 0
    """The timestamp of the latest publication."""
    day: int = 0
    """The day on which the latest publication was downloaded, in days since 1970."""
    day_bytes: int = 0
    """The bytes of publications downloaded on that day."""
    last_day_bytes: int = 0
    """The bytes of publications downloaded on the day before."""
    found: tuple[int, ...] = ()
    """The planned times of the last ticks whose bodies were found without a message."""

    def known(self, sha256: str, *, tells_time: bool) -> Known | None:
        """Return the publication with this hash if it is among the last ones.

        For a feed without a clock only the latest counts, as older bytes may be published anew.
        """
        return next((known for known in self.recent[0 if tells_time else -1 :] if known.sha == sha256[:16]), None)

    def is_taken(self, second: int, sha256: str) -> bool:
        """True when a publication with other bytes has a timestamp in the same second."""
        return any(known.published_ms // 1000 == second and known.sha != sha256[:16] for known in self.recent)

    def flags_of(self, published_ms: int, now_ms: int) -> tuple[str, ...]:
        """Return the flags of an odd timestamp."""
        if published_ms > now_ms + FUTURE_MS:
            return ("future",)
        past = ("past",) if published_ms < now_ms - FAR_S * 1000 else ()
        return (*past, "backwards") if published_ms < self.newest_ms else past

    def is_frozen(self, now_ms: int, stale_after_ms: int) -> bool:
        """True when the feed's contents have not changed for too long, although its server answers."""
        return bool(stale_after_ms and self.changed_ms and now_ms - self.changed_ms >= stale_after_ms)

    def publish(self, known: Known, size_bytes: int, now_ms: int) -> None:
        """Add a new publication to the state."""
        self.recent = (*self.recent, known)[-REMEMBERED:]
        if known.published_ms <= now_ms + FUTURE_MS:
            self.newest_ms = max(self.newest_ms, known.published_ms)
        self.published_ms = known.published_ms
        day = now_ms // DAY_MS
        if day != self.day:
            self.last_day_bytes = self.day_bytes if day == self.day + 1 else 0
            self.day, self.day_bytes = day, 0
        self.day_bytes += size_bytes

    def find(self, planned_ms: int) -> None:
        """Record a tick whose body was found, so that the tick's own message no longer counts."""
        self.found = (*self.found, planned_ms)[-FOUND:]

    def see(self, content: str, now_ms: int) -> None:
        """Record the contents that the server shows now."""
        if content != self.content:
            self.content, self.changed_ms = content, now_ms


def decode_state(text: str) -> FeedState:
    """Read a cursor's value."""
    return msgspec.json.decode(text, type=FeedState)


def encode_state(state: FeedState) -> str:
    """Return a cursor's value."""
    return msgspec.json.encode(state).decode()
