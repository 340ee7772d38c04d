"""The results of a benchmark: tables for people and for programs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple


class Table(NamedTuple):
    """One table; numbers in `rows` stay numbers, so that the JSON has them unrounded."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the table as aligned text."""
        lines = [self.columns, *(tuple(map(_shown, row)) for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        rule = "  ".join("-" * width for width in widths)
        texts = ["  ".join(_aligned(i, line[i], widths[i]) for i in range(len(widths))).rstrip() for line in lines]
        return "\n".join([self.title, "", texts[0], rule, *texts[1:], "", *self.notes])

    def as_json(self) -> dict[str, Any]:
        """Return the table as plain data."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": list(self.notes)}


def median(values: Sequence[float]) -> float:
    """Return the median of the rounds: a neighbour's burst on a shared machine does not move it."""
    return statistics.median(values)


def _aligned(column: int, text: str, width: int) -> str:
    return text.ljust(width) if column == 0 else text.rjust(width)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        if abs(value) >= 1000:
            return f"{value:,.0f}"
        return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
