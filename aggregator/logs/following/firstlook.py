"""Where to begin with a path that has no stored position."""

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
    """Where to begin with a path that has no stored position."""

    since: float = math.inf
    """Rotated logs last changed before this time are not read: they were there before the section's first run."""
    at_end: bool = False
    """True to skip the text that the live file holds already."""


class Deferred:
    """A file that existed at the first look but could not be opened: once it can be, reading begins at its end."""

    def __init__(self, path: Path, name: str, stored: Sequence[Position]) -> None:
        self._path = path
        self._name = name
        self.position = stored[0] if len(stored) == 1 and stored[0].at_end else None

    def is_it(self, file: OpenFile) -> bool:
        """True for the file that was deferred."""
        return self.position is not None and (self.position.dev, self.position.ino) in ((0, 0), key_of(file))

    def note(self) -> dict[str, str | None]:
        """Remember the file that is at the path now. Returns the positions to store."""
        if self.position is not None:
            return {}
        self.position = Position(self._name, 0, at_end=True)
        with suppress(OSError):  # without these facts any file at the path is taken for it
            facts = os.stat(self._path)
            self.position.dev, self.position.ino = facts.st_dev, facts.st_ino
        return {self.position.name: self.position.store()}

    def forget(self) -> dict[str, str | None]:
        """Forget the deferred file, because it was opened or is gone. Returns the positions to store."""
        forgotten, self.position = self.position, None
        return {} if forgotten is None else {forgotten.name: None}
