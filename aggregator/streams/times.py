"""Moments as text."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from aggregator.streams.messages import YEAR_10000_MS

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_YEAR_1_MS = -62_135_000_000_000


def iso(moment_ms: int) -> str:
    """Return a moment in Unix milliseconds as 2026-11-28T12:34:56Z."""
    return datetime.fromtimestamp(moment_ms / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_of(text: object) -> int | None:
    """Return a time as platforms write it, in Unix milliseconds: ISO 8601, or Twitter's own form."""
    moment_us = moment_us_of(text)
    return None if moment_us is None else moment_us // 1000


def moment_us_of(text: object) -> int | None:
    """Return a time as platforms write it, in Unix microseconds."""
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
        found_us = ((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return None
    return found_us if _YEAR_1_MS < found_us // 1000 < YEAR_10000_MS else None


def _padded(text: str) -> str:
    """Return a time in the form that Python 3.10 reads: with six digits of a fraction or none, and with an offset."""
    text = text.removesuffix("Z")
    head, dot, fraction = text.partition(".")
    if not dot:
        return text
    digits = len(fraction) - len(fraction.lstrip("0123456789"))
    return f"{head}.{fraction[:digits][:6]:0<6}{fraction[digits:]}"
