"""When a worker ends by itself: never, as under supervisord, or once nothing is left to do, as in the foreground."""

from __future__ import annotations

SOON_S = 1.0
"""A worker waits for a message that is due within this time."""


class Ending:
    """A worker that goes on until it is told to end."""

    def when_empty(self, due_s: float | None) -> bool:
        """Return whether to end with nothing to take; something is due in `due_s` seconds, None = never."""
        return False

    def when_stuck(self, reason: str) -> bool:
        """Return whether to end when a queue is full, or what the stage needs is away."""
        return False


class UntilEmpty(Ending):
    """A worker that ends when its queue is empty, and gives up where another worker would wait."""

    gave_up = ""
    """The reason why the worker gave up; empty when it did not."""

    def when_empty(self, due_s: float | None) -> bool:
        """End unless something is due in a moment."""
        return due_s is None or due_s >= SOON_S

    def when_stuck(self, reason: str) -> bool:
        """End, and remember the reason."""
        self.gave_up = reason
        return True
