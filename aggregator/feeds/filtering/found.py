"""Files that a stage found on the disk without a message, as the Redis with the messages was lost or replaced.

A found file gets one message; the cursor `found:NAME` in Redis records that it was sent, so only a Redis without that
cursor sends it again. After that the stage leaves the file to its message, even if the message goes to the dead
letters. The cursor is removed when the file is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from aggregator.runtime.contract import Cursor

FOUND = "found:"
LOOK_EVERY_S = 60.0
MOST = 100
"""How many found files get a message in one look; the next look follows at once when there were more."""


class Found:
    """The found files of a stage, and when to look for more."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._looked_at = float("-inf")

    def load(self, cursors: Mapping[str, str]) -> None:
        """Learn from the cursors which found files have had a message."""
        self._told = {name.removeprefix(FOUND) for name in cursors if name.startswith(FOUND)}

    def is_due(self, now: float) -> bool:
        """True once a minute, even after the clock was set."""
        if abs(now - self._looked_at) < LOOK_EVERY_S:
            return False
        self._looked_at = now
        return True

    def hurry(self) -> None:
        """Make the next look due at once, as one look cannot handle all files."""
        self._looked_at = float("-inf")

    def is_told(self, name: str) -> bool:
        """True for a file that has had a message, or is known to be useless."""
        return name in self._told

    def tell(self, name: str) -> Cursor:
        """Record that a found file gets its message now."""
        self._told.add(name)
        return Cursor(f"{FOUND}{name}", "1")

    def forget(self, is_there: Callable[[str], bool]) -> Iterator[Cursor]:
        """Remove the cursors of found files that no longer exist."""
        for name in [name for name in self._told if not is_there(name)]:
            self._told.discard(name)
            yield Cursor(f"{FOUND}{name}", None)
