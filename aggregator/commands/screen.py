"""Tables, colours and numbers for people; JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, TextIO

from aggregator.monitor.words import NOTHING, age, one_line, printable

__all__ = [
    "NOTHING",
    "Column",
    "Painted",
    "Progress",
    "age",
    "amount",
    "colours_wanted",
    "memory",
    "one_line",
    "paint",
    "print_json",
    "printable",
    "rate",
    "table",
]

_CODES = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "grey": "90", "bold": "1"}


class Painted(NamedTuple):
    """A piece of text and its colour; an empty colour leaves it as it is."""

    text: str
    colour: str


class Column(NamedTuple):
    """A column's head, and whether its cells are aligned to the right, as numbers are."""

    head: str
    right: bool = False


def colours_wanted(stream: TextIO) -> bool:
    """True on a terminal, unless the user wants none (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, *, colours: bool) -> str:
    """Return text with a terminal's colour around it."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if colours and colour and text else text


def table(columns: Sequence[Column], rows: Sequence[Sequence[str | Painted]], *, colours: bool = False) -> str:
    """Return rows below their heads, aligned; lines have no spaces at their end."""
    painted = [[cell if isinstance(cell, Painted) else Painted(cell, "") for cell in row] for row in rows]
    heads = [Painted(column.head, "bold") for column in columns]
    widths = [max(len(line[i].text) for line in (heads, *painted)) for i in range(len(columns))]
    lines = []
    for line in (heads, *painted):
        cells = []
        for cell, column, width in zip(line, columns, widths, strict=True):
            room = " " * (width - len(cell.text))
            shown = paint(cell.text, cell.colour, colours=colours)
            cells.append(room + shown if column.right else shown + room)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def print_json(value: Any) -> None:
    """Print a value for programs."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        # the stream is not UTF-8, or a file's name holds a byte that is not
        text = json.dumps(value, indent=2)
    # JSON escapes only the first 32 control characters, but a terminal obeys others too
    print("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))


def amount(number: int) -> str:
    """Return a count: 12,345."""
    return f"{number:,}"


def rate(per_second: float) -> str:
    """Return messages a second, with fewer decimals for higher rates."""
    if per_second == 0:
        return "0"
    return (
        f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.1f}" if per_second >= 1 else f"{per_second:.2f}"
    )


def memory(kilobytes: int) -> str:
    """Return resident memory: 31 MB."""
    return f"{kilobytes / 1024:.0f} MB" if kilobytes else NOTHING


class Progress:
    """The progress of work on more than 1000 items: one changing line on a terminal, nothing elsewhere."""

    def __init__(self, what: str, total: int) -> None:
        self.what = what
        self.total = total
        self.done = 0
        self._shown = sys.stderr.isatty() and total > 1000

    def advance(self, by: int) -> None:
        """Count `by` more items as done."""
        self.done += by
        if self._shown:
            print(f"\r{self.what} {self.done:,} of {self.total:,}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Clear the line."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
