"""How long a server asks to be left alone.

Source: RFC 9110, section 10.2.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime

_LONGEST = 100
"""Characters of a date."""


def retry_after_s(headers: Mapping[str, str], now: float, longest_s: float = float("inf")) -> float | None:
    """Return the seconds that the `Retry-After` of an answer asks for, at most `longest_s`; None when it says nothing.

    `headers` have lower-case names. A moment is compared with the server's own clock, where the answer tells it, else
    with `now`, in Unix seconds.
    """
    text = headers.get("retry-after", "").strip()
    if text.isdecimal() and text.isascii():
        return min(float(text[:9]), longest_s)
    until = _moment(text)
    if until is None:
        return None
    server_now = _moment(headers.get("date", ""))
    return min(max(until - (now if server_now is None else server_now), 0.0), longest_s)


def _moment(text: str) -> float | None:
    """Return Unix seconds; a date without a zone is one in UTC."""
    try:
        found = parsedate_to_datetime(text[:_LONGEST])
        return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
