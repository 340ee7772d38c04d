"""What a worker takes its work from: a queue one by one, a queue in several threads, or a source."""

from __future__ import annotations

from typing import Protocol


class Intake(Protocol):
    """Where work comes from. All of it is called from the worker's main thread."""

    def begin(self) -> None:
        """Commit what must be under way before the first turn."""

    def turn(self) -> None:
        """Do one round: take what there is, or wait a little."""

    def finish(self) -> None:
        """Finish, or give back, what is in hand; the worker ends."""
