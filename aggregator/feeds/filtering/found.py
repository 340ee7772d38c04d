"""What a stage found on the disk though no message told of it: the Redis that had the message is lost, or has another
name now.

Each find is told of once in each state of Redis, by the cursor `found:NAME`: what comes of it is the business of its
message from then on, also when that is set aside. The cursor goes with the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from aggregator.runtime.contract import Cursor

FOUND = "found:"
LOOK_EVERY_S = 60.0
MOST = 100
"""Finds that are told of in one look; the next look follows at once when there were more."""


class Found:
    """The finds of a stage, and when it is time to look for more."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._looked_at = float("-inf")

    def load(self, cursors: Mapping[str, str]) -> None:
        """Learn what was told of before."""
        self._told = {name.removeprefix(FOUND) for name in cursors if name.startswith(FOUND)}

    def is_due(self, now: float) -> bool:
        """True once a minute, also after the clock was set."""
        if abs(now - self._looked_at) < LOOK_EVERY_S:
            return False
        self._looked_at = now
        return True

    def hurry(self) -> None:
        """Have the next look come at once: there is more than one look may tell of."""
        self._looked_at = float("-inf")

    def is_told(self, name: str) -> bool:
        """True for what was told of, or is known to be of no use."""
        return name in self._told

    def tell(self, name: str) -> Cursor:
        """Take note that a find is told of."""
        self._told.add(name)
        return Cursor(f"{FOUND}{name}", "1")

    def forget(self, is_there: Callable[[str], bool]) -> Iterator[Cursor]:
        """Forget the finds that are no longer there."""
        for name in [name for name in self._told if not is_there(name)]:
            self._told.discard(name)
            yield Cursor(f"{FOUND}{name}", None)
