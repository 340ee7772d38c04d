"""Texts and spans of time as people read them, on a terminal or a page."""

from __future__ import annotations

NOTHING = "-"


def printable(text: str) -> str:
    """Return a text with control characters escaped, as they could move the cursor: messages come from strangers."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str, limit: int) -> str:
    """Return the beginning of a text on one line."""
    text = printable(" ".join(text.split()))
    return text if len(text) <= limit else text[: limit - 3] + "..."


def age(seconds: float | None) -> str:
    """Return a span of time in its two greatest units: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min, 4 d 3 h."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, smaller, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{whole} s"
