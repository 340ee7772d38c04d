"""A progress bar for long work on archived bundles, or on files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol

from aggregator.commands import screen

_WIDTH = 24


class Sized(Protocol):
    """What the work is on."""

    @property
    def size_bytes(self) -> int:
        """How much of the work it is."""
        ...


class Bar:
    """A progress bar at the bottom of a terminal, with lines of results above it.

    Where standard error is no terminal, only the lines are printed. Used as a context manager, the bar removes itself
    on exit.
    """

    def __init__(self, items: Sequence[Sized], noun: str = "bundles") -> None:
        self.total = len(items)
        self.total_bytes = sum(item.size_bytes for item in items)
        self._noun = noun
        self.done = 0
        self.done_bytes = 0
        self._shown = sys.stderr.isatty()
        self._draw()

    def advance(self, size_bytes: int) -> None:
        """Count one item as done, and redraw the bar."""
        self.done += 1
        self.done_bytes += size_bytes
        self._draw()

    def line(self, text: str, *, quiet: bool) -> None:
        """Print a result above the bar; with `quiet` print nothing."""
        if quiet:
            return
        self._clear()
        print(text, flush=True)
        self._draw()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def _clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _draw(self) -> None:
        if not self._shown:
            return
        share = self.done_bytes / self.total_bytes if self.total_bytes else self.done / max(self.total, 1)
        full = round(share * _WIDTH)
        megabytes = f"{self.done_bytes / 1e6:,.1f} of {self.total_bytes / 1e6:,.1f} MB"
        counts = f"{screen.amount(self.done)} of {screen.amount(self.total)} {self._noun}, {megabytes}"
        print(f"\r[{'#' * full}{'.' * (_WIDTH - full)}] {share:4.0%}  {counts}", end="", file=sys.stderr, flush=True)
