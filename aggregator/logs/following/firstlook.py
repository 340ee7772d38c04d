"""Where to begin with a path that no position is known of."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from aggregator.logs.following.openfile import OpenFile, key_of
from aggregator.logs.following.position import Position


class FirstLook(NamedTuple):
    """What to do with a path that no position is known of."""

    since: float = math.inf
    """Rotated logs last changed before this time are not read: they were there before the section's first run."""
    at_end: bool = False
    """Leave out what the live file holds already."""


class Deferred:
    """A file that was there at the first look and could not be opened: once it can, it begins at its end."""

    def __init__(self, path: Path, name: str, stored: Sequence[Position]) -> None:
        self._path = path
        self._name = name
        self.position = stored[0] if len(stored) == 1 and stored[0].at_end else None

    def is_it(self, file: OpenFile) -> bool:
        """True for the file that was put off."""
        return self.position is not None and (self.position.dev, self.position.ino) in ((0, 0), key_of(file))

    def note(self) -> dict[str, str | None]:
        """Remember the file that is there now. Returns the positions to store."""
        if self.position is not None:
            return {}
        self.position = Position(self._name, 0, at_end=True)
        with suppress(OSError):  # then any file of this path is taken for it
            facts = os.stat(self._path)
            self.position.dev, self.position.ino = facts.st_dev, facts.st_ino
        return {self.position.name: self.position.store()}

    def forget(self) -> dict[str, str | None]:
        """Let it be: it was opened, or it is gone. Returns the positions to store."""
        forgotten, self.position = self.position, None
        return {} if forgotten is None else {forgotten.name: None}
