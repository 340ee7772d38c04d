"""Where a worker takes its work from: a queue message by message, a queue in several threads, or a source."""

from __future__ import annotations

from typing import Protocol


class Intake(Protocol):
    """The place where work comes from. All methods are called from the worker's main thread."""

    def begin(self) -> None:
        """Commit the messages that must be under way before the first turn."""

    def turn(self) -> None:
        """Do one round: take the work that is there, or wait a little."""

    def finish(self) -> None:
        """Finish or give back the work in hand, because the worker ends."""
