"""Read the forms in which feeds write a moment: Unix seconds and fractions of them, ISO 8601, HTTP and mail dates."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

LONGEST = 200
"""The most characters of a text that is read as a moment."""
OLDEST = 631_152_000
"""1990-01-01: an older timestamp comes from a clock that was never set, or was read wrongly."""
FAR_S = 2 * 365.25 * 86400
"""Two years: a timestamp farther before the download is flagged, and one farther after the download is refused."""
_CALENDAR = (12, 14, 17, 20)
"""The number of digits of yyyymmddhhmm, and of the same with seconds, milliseconds and microseconds."""
YEAR_10000 = 253_402_300_800
"""Unix seconds; file names have four digits for the year."""

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9})\d*)?)?\s*(Z|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)
_BASIC = re.compile(
    r"(\d{4})(\d\d)(\d\d)[T ]?(\d\d)(\d\d)(?:(\d\d)(?:[.,](\d{1,9})\d*)?)?\s*(Z|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)
"""ISO 8601 without separators, as often used in file names."""
_MAIL_ZONE = re.compile(r"\d[:.]\d\d(?:[:.]\d\d(?:\.\d+)?)?\s*(.*)", re.ASCII | re.DOTALL)
_OFFSET = re.compile(r"[+-]\d\d:?\d\d", re.ASCII)
_NO_ZONE = re.compile(r"\([^()]*\)|(?<![+-])\b\d{4}$", re.ASCII)
"""Text that may follow a time besides its zone: a comment, or the year as `date` and C's asctime write it."""
_NAMED_ZONES = {
    **dict.fromkeys(("", "UT", "UTC", "GMT", "Z"), "+0000"),
    **{"EST": "-0500", "EDT": "-0400", "CST": "-0600", "CDT": "-0500"},
    **{"MST": "-0700", "MDT": "-0600", "PST": "-0800", "PDT": "-0700"},
}
"""RFC 822, 5.1. Other names mean different zones to different people."""
_NUMBER = re.compile(r"\d{1,20}(?:\.\d{1,20})?", re.ASCII)


def read_moment(value: object) -> int | float:
    """Return Unix seconds for a number or text, with the fraction it has.

    A number of 12, 14, 17 or 20 digits that reads as a date and time from 1990 to 2099 without separators means that
    moment in UTC. Other numbers are seconds with up to 11 digits before the point, milliseconds with 12 or 13,
    microseconds with 15 to 18, nanoseconds with 19. A time without a zone is taken for UTC. Raises ValueError, also for
    a zone with an unknown name.
    """
    if isinstance(value, str):
        text = value.strip()
        if len(text) > LONGEST:
            raise ValueError(f"no time (found {text[:40]!r}… of {len(text)} characters)")
        if not _NUMBER.fullmatch(text):
            return _read_text(text)
        whole, _, fraction = text.partition(".")
        value = float(text) if fraction else int(text)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"no time (found {type(value).__name__})")
    elif 1 <= value < 10**20:
        whole, _, fraction = f"{value:.6f}".partition(".") if isinstance(value, float) else (str(value), "", "")
    else:
        return check_moment(value)
    return check_moment(_read_calendar(whole, fraction) or _in_seconds(value, len(whole.lstrip("0"))))


def _read_calendar(whole: str, fraction: str) -> int | float | None:
    """Return the moment of a number whose digits are a date and time; None for other numbers."""
    if len(whole) not in _CALENDAR or not "1990" <= whole[:4] <= "2099":
        return None
    text = f"{whole[:14]}.{whole[14:]}{fraction}" if len(whole) > 12 else whole
    try:
        return _read_text(text.rstrip(".").ljust(14, "0"))
    except ValueError:
        return None


def _in_seconds(value: int | float, digits: int) -> int | float:
    if digits in (14, 17):
        raise ValueError(f"no time (found {value}); {digits} digits must be yyyymmddhhmmss{'fff' * (digits > 14)}")
    for least, parts in ((10**18, 1_000_000_000), (10**14, 1_000_000), (10**11, 1000)):
        if least <= value < least * 10_000:
            return value / parts
    return value


def check_distance(seconds: int | float, fetched_at: float) -> None:
    """Check that a feed fetched at `fetched_at` can have this timestamp. Raises ValueError."""
    off_s = seconds - fetched_at
    found = f"{datetime.fromtimestamp(int(seconds), timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
    if off_s > FAR_S:
        years = f"{off_s / (FAR_S / 2):.1f} years"
        raise ValueError(f"of {found}, {years} after the download; allowed: 2 years. Is it a time, and in which unit?")
    if seconds < OLDEST:
        raise ValueError(f"of {found}; allowed: from 1990 on. Is it a time, and in which unit?")


def check_moment(seconds: int | float) -> int | float:
    """Return Unix seconds unchanged when a file name can carry them. Raises ValueError."""
    if not 1 <= seconds < YEAR_10000:  # false for NaN too
        raise ValueError(f"no time between 1970 and 9999 (found {seconds})")
    return seconds


def _read_text(text: str) -> int | float:
    match = _ISO.fullmatch(text) or _BASIC.fullmatch(text)
    if not match:
        return check_moment(_read_mail_date(text))
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    # A leap second counts as the first second of the next minute, as in Unix time.
    moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=timezone.utc)
    whole = int(moment.timestamp()) + (1 if second == 60 else 0)
    if second > 60:
        raise ValueError(f"no time (found {text[:40]!r})")
    whole -= _zone_s(match[8])
    return check_moment(whole + float(f"0.{match[7]}") if match[7] else whole)


def _zone_s(zone: str | None) -> int:
    if zone is None or zone in "Zz":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return int(offset.total_seconds()) * (-1 if zone[0] == "-" else 1)


def _read_mail_date(text: str) -> float:
    try:
        local = parsedate_to_datetime(text).replace(tzinfo=timezone.utc)
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"no time (found {text[:40]!r})") from error
    behind = _MAIL_ZONE.search(text)
    name = _NO_ZONE.sub("", behind[1] if behind else "").strip()
    zone = _NAMED_ZONES.get(name.upper(), name)
    if not _OFFSET.fullmatch(zone):
        raise ValueError(f"no known zone (found {name[:20]!r}); known: {' '.join(_NAMED_ZONES).strip()}, +hhmm")
    return local.timestamp() - _zone_s(zone)
