"""How long a server asks to be left alone.

Source: RFC 9110, section 10.2.3.
"""

from __future__ import annotations

from datetime import timezone
from email.utils import parsedate_to_datetime

_LONGEST = 100
"""The most characters of a date."""


def retry_after_s(text: str, date: str, now: float, longest_s: float = float("inf")) -> float | None:
    """Return the seconds that a `Retry-After` asks for, at most `longest_s`; None when it says nothing.

    A date is compared with the server's own clock, which its header `Date` tells, otherwise with `now`, in Unix
    seconds.
    """
    text = text.strip()
    if not text:
        return None
    if text.isdecimal() and text.isascii():
        return min(float(text[:9]), longest_s)
    until = _moment(text)
    if until is None:
        return None
    server_now = _moment(date)
    return min(max(until - (now if server_now is None else server_now), 0.0), longest_s)


def _moment(text: str) -> float | None:
    """Return a date in Unix seconds, None when the text is no date; a date without a zone is in UTC."""
    try:
        found = parsedate_to_datetime(text[:_LONGEST])
        return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
