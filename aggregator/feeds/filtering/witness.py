"""The newest publication of each feed without a clock, kept on the disk to check the state in Redis.

    data/feeds/newest/NAME.json

For such a feed a body equal to the last one is a repetition, so the filter must know which body came last. A Redis that
was restored from an older copy, or a section that gets back an old name, has an older state: `on` would be taken for a
repetition though `off` came in between. Therefore each new publication is written here before it is committed. When a
younger tick comes and the state in Redis lacks that publication, the disk is believed if the state is the older of the
two, and else neither: in doubt a publication is kept twice.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from aggregator.feeds.filtering.state import FeedState, Known


class Newest(msgspec.Struct, frozen=True):
    """The newest publication of a feed that was decided on."""

    planned_ms: int
    """When the tick that brought it was planned; 0 when the file cannot be read, so that no state is trusted."""
    sha: str
    """The first 16 digits of the SHA-256."""
    published_ms: int


class Witness:
    """The files with the newest publication of each feed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._unproved: set[str] | None = None

    def read(self, feed: str) -> Newest | None:
        """Return the newest publication of a feed; None when the feed has no file."""
        try:
            return msgspec.json.decode(self._path(feed).read_bytes(), type=Newest)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:
            return Newest(0, "", 0)

    def missed_by(self, feed: str, planned_ms: int, state: FeedState) -> Newest | None:
        """Return a feed's newest publication if the feed's state lacks it, though the tick in hand is younger.

        A tick that is not younger proves nothing: its message may come again after a kill.
        """
        if self._unproved is None:
            self._unproved = {path.name.removesuffix(".json") for path in self.folder.glob("*.json")}
        newest = self.read(feed) if feed in self._unproved else None
        if newest is None or planned_ms <= newest.planned_ms:
            return None
        if not state.recent:
            return newest if newest.sha and newest.planned_ms >= state.planned_ms else None
        last = state.recent[-1]
        return None if (last.sha, last.published_ms) == (newest.sha, newest.published_ms) else newest

    def believe(self, feed: str, planned_ms: int) -> None:
        """Stop checking a feed once a tick younger than its file was decided on."""
        if self._unproved and feed in self._unproved:
            newest = self.read(feed)
            if newest is None or planned_ms > newest.planned_ms:
                self._unproved.discard(feed)

    def doubt(self, feed: str) -> None:
        """Check a feed again, as what was decided on it is not committed."""
        if self._unproved is not None:
            self._unproved.add(feed)

    def note(self, feed: str, planned_ms: int, known: Known) -> None:
        """Write down a publication before it is committed.

        If a power cut makes the file unreadable, the next publication may be kept twice.
        """
        newest = Newest(planned_ms, known.sha, known.published_ms)
        if newest != self.read(feed):
            self.folder.mkdir(parents=True, exist_ok=True)
            part = self.folder / f".{feed}.part"
            part.write_bytes(msgspec.json.encode(newest))
            part.replace(self._path(feed))

    def _path(self, feed: str) -> Path:
        return self.folder / f"{feed}.json"
