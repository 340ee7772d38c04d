"""What the filter remembers of each feed: the state that decides, and what `feeds list` shows.

It is a cursor of the filter, `feed:NAME`, stored in the step in which what it decided takes effect.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from aggregator.feeds.reading.dates import FAR_S

CURSOR = "feed:"
ARCHIVED = "archived:"
"""How the cursors of `archive` begin that hold the start of the newest period stored: `archived:PROCESS:FEED`."""
REMEMBERED = 12
"""Publications that are known again when they come once more. Servers behind one address lag by one or two."""
FOUND = 100
FUTURE_MS = 3_600_000
DAY_MS = 86_400_000


class Known(NamedTuple):
    """A publication that came before."""

    sha: str
    """How its SHA-256 begins: 16 digits."""
    published_ms: int
    content: str
    """The hash of its entities; of a feed that has none, the same as `sha`."""


class FeedState(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What is known of a feed. Times are Unix milliseconds."""

    recent: tuple[Known, ...] = ()
    """The last publications, the latest at the end."""
    newest_ms: int = 0
    """The greatest timestamp so far, but for those that lay in the future."""
    content: str = ""
    changed_ms: int = 0
    """When the contents were last seen to have changed."""
    outcome: str = ""
    """The last tick's outcome, and its error."""
    error: str = ""
    refused: str = ""
    """Why the last body that came was invalid; empty when it was good."""
    planned_ms: int = 0
    """When that tick was planned."""
    answered_ms: int = 0
    """When a tick last succeeded: ok, same or not_modified."""
    published_ms: int = 0
    """The timestamp of the latest publication."""
    day: int = 0
    """The day of the latest publication's download, in days since 1970, and the bytes that came on it."""
    day_bytes: int = 0
    last_day_bytes: int = 0
    """The same of the day before."""
    found: tuple[int, ...] = ()
    """When the last ticks were planned whose bodies were found without a message."""

    def known(self, sha256: str, *, tells_time: bool) -> Known | None:
        """Return the publication with these bytes, if it came not long ago.

        Of a feed that does not tell its time only the latest is looked at: older bytes may be true once more.
        """
        return next((known for known in self.recent[0 if tells_time else -1 :] if known.sha == sha256[:16]), None)

    def is_taken(self, second: int, sha256: str) -> bool:
        """True when other bytes had the same timestamp, by the second."""
        return any(known.published_ms // 1000 == second and known.sha != sha256[:16] for known in self.recent)

    def flags_of(self, published_ms: int, now_ms: int) -> tuple[str, ...]:
        """Return what is odd about a timestamp."""
        if published_ms > now_ms + FUTURE_MS:
            return ("future",)
        past = ("past",) if published_ms < now_ms - FAR_S * 1000 else ()
        return (*past, "backwards") if published_ms < self.newest_ms else past

    def is_frozen(self, now_ms: int, stale_after_ms: int) -> bool:
        """True when the server answers, but nothing has changed for too long."""
        return bool(stale_after_ms and self.changed_ms and now_ms - self.changed_ms >= stale_after_ms)

    def publish(self, known: Known, size_bytes: int, now_ms: int) -> None:
        """Take in a new publication."""
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
        """Note that a tick was told of by its body, so that its own message counts no more."""
        self.found = (*self.found, planned_ms)[-FOUND:]

    def see(self, content: str, now_ms: int) -> None:
        """Note what the server has now."""
        if content != self.content:
            self.content, self.changed_ms = content, now_ms


def decode_state(text: str) -> FeedState:
    """Read a cursor's value."""
    return msgspec.json.decode(text, type=FeedState)


def encode_state(state: FeedState) -> str:
    """Return a cursor's value."""
    return msgspec.json.encode(state).decode()
