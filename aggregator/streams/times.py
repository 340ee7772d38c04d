"""Moments as text."""

from __future__ import annotations

from datetime import datetime, timezone

from aggregator.streams.messages import YEAR_10000_MS

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_YEAR_1_MS = -62_135_000_000_000


def iso(moment_ms: int) -> str:
    """Return a moment in Unix milliseconds as 2026-11-28T12:34:56Z."""
    return datetime.fromtimestamp(moment_ms / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_of(text: object) -> int | None:
    """Return a time as platforms write it, in Unix milliseconds: ISO 8601, or Twitter's own form."""
    if not isinstance(text, str):
        return None
    try:
        if text[3:4] == " ":
            _, month, day, clock, offset, year = text.split()
            moment = datetime.fromisoformat(
                f"{int(year):04}-{_MONTHS.index(month) + 1:02}-{int(day):02}T{clock}{offset[:3]}:{offset[3:]}"
            )
        else:
            moment = datetime.fromisoformat(_padded(text))
        found_ms = int((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return found_ms if _YEAR_1_MS < found_ms < YEAR_10000_MS else None


def _padded(text: str) -> str:
    """Return a time in the form that Python 3.10 reads: with six digits of a fraction or none, and with an offset."""
    text = text.removesuffix("Z")
    head, dot, fraction = text.partition(".")
    if not dot:
        return text
    digits = len(fraction) - len(fraction.lstrip("0123456789"))
    return f"{head}.{fraction[:digits][:6]:0<6}{fraction[digits:]}"
