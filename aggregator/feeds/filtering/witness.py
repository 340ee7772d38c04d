"""What the disk knows of the newest publication of each feed without a clock, as the proof of what Redis remembers.

    data/feeds/newest/NAME.json

Of such a feed the same bytes as before are nothing new, so everything hangs on which ones came last. A Redis that comes
back older, or a section that gets back an old name, remembers older ones: `on` would be taken for nothing new though
`off` came between. What is decided is therefore written here before it is committed. A memory that lacks it, while
ticks come that are younger, is not believed: in doubt a publication comes twice.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from aggregator.feeds.filtering.state import FeedState, Known


class Newest(msgspec.Struct, frozen=True):
    """The newest publication of a feed that was decided on."""

    planned_ms: int
    """When the tick was planned that brought it; 0 where the file cannot be read, and nothing can be believed."""
    sha: str
    """How its SHA-256 begins: 16 digits."""
    published_ms: int


class Witness:
    """The folder of these files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._unproved: set[str] | None = None

    def read(self, feed: str) -> Newest | None:
        """Return what is known of a feed; None when nothing is."""
        try:
            return msgspec.json.decode(self._path(feed).read_bytes(), type=Newest)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:
            return Newest(0, "", 0)

    def contradicts(self, feed: str, planned_ms: int, state: FeedState) -> bool:
        """True when a feed's memory lacks its newest publication, though the tick in hand is younger.

        Messages that come again after a kill are older than what was decided on them before.
        """
        if self._unproved is None:
            self._unproved = {path.name.removesuffix(".json") for path in self.folder.glob("*.json")}
        newest = self.read(feed) if feed in self._unproved else None
        if newest is None or planned_ms <= newest.planned_ms or not state.recent:
            return False
        last = state.recent[-1]
        return (last.sha, last.published_ms) != (newest.sha, newest.published_ms)

    def believe(self, feed: str, planned_ms: int) -> None:
        """Ask the file no more, once a tick was decided on that is younger than what it tells of."""
        if self._unproved and feed in self._unproved:
            newest = self.read(feed)
            if newest is None or planned_ms > newest.planned_ms:
                self._unproved.discard(feed)

    def note(self, feed: str, planned_ms: int, known: Known) -> None:
        """Write down a publication, before it is committed.

        A file that a power cut leaves unreadable proves nothing, and costs a repetition.
        """
        newest = Newest(planned_ms, known.sha, known.published_ms)
        if newest != self.read(feed):
            self.folder.mkdir(parents=True, exist_ok=True)
            part = self.folder / f".{feed}.part"
            part.write_bytes(msgspec.json.encode(newest))
            part.replace(self._path(feed))

    def _path(self, feed: str) -> Path:
        return self.folder / f"{feed}.json"
