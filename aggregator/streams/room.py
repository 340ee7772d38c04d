"""The room that is left on the disk of the streams."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from aggregator.config.settings import Doc, Size
from aggregator.files.names import real_name
from aggregator.monitor.words import age
from aggregator.runtime.context import Context

MinFree = Annotated[
    Size, Doc("`aggregator health` warns when less room than this is left on the disk (disk_low); 0 = never")
]
MIN_FREE = 1024**3
_LOOK_S = 10.0
_STEP_S = 60.0
_STEPS = 60
"""The rate is that of so many steps."""
_SHORTEST_S = 300.0
"""A rate over less time than this says nothing."""


def free_bytes(folder: Path) -> int:
    """Return how much a user may still write below a folder, which need not be there yet. Raises OSError."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


class Room:
    """Tells when the disk of a folder has less room than it should have, and how long that will last."""

    def __init__(self, folder: Path, min_free: int, context: Context, free: Callable[[Path], int] = free_bytes) -> None:
        self._folder = folder
        self._min_free = min_free
        self._context = context
        self._free = free
        self._looked: float | None = None
        self._steps: deque[tuple[float, int]] = deque(maxlen=_STEPS)
        """(Unix seconds, bytes that were free), the oldest first."""

    def look(self, now: float) -> None:
        """Look at the disk, unless that was done a moment ago."""
        if not self._min_free or (self._looked is not None and 0 <= now - self._looked < _LOOK_S):
            return
        self._looked = now
        with suppress(OSError):  # who writes there will say what is wrong
            free = self._free(self._folder)
            if not self._steps or abs(now - self._steps[-1][0]) >= _STEP_S:
                self._steps.append((now, free))
            self._tell(now, free)

    def _tell(self, now: float, free: int) -> None:
        name = real_name(self._folder, self._context.root)
        if free >= self._min_free:
            self._context.note("disk", "")
            self._context.withdraw("disk_low", name)
            return
        self._context.note("disk", f"{_megabytes(free)} left")
        text = f"{_megabytes(free)} are left on its disk, and min_free is {_megabytes(self._min_free)}"
        since, before = self._steps[0]
        if now - since >= _SHORTEST_S and before > free:
            last_s = free * (now - since) / (before - free)
            text = f"{text}; at the rate of the last {age(now - since)} it is full in {age(last_s)}"
        self._context.report("disk_low", text, "make room, or move what is finished into a store", about=name)


def _megabytes(size: int) -> str:
    return f"{size / 1024**2:,.0f} MB"
