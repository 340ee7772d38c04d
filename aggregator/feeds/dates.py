"""Read the ways in which feeds write a moment: Unix seconds, milliseconds, ISO 8601, HTTP and mail dates."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

YEAR_10000 = 253_402_300_800
"""Unix seconds; file names have four digits for the year."""

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9})\d*)?)?\s*(Z|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)
_MAIL_ZONE = re.compile(r"\d[:.]\d\d(?:[:.]\d\d(?:\.\d+)?)?\s*(.*)", re.ASCII | re.DOTALL)
_OFFSET = re.compile(r"[+-]\d\d:?\d\d", re.ASCII)
_NO_ZONE = re.compile(r"\([^()]*\)|(?<![+-])\b\d{4}$", re.ASCII)
"""What may stand behind a time beside its zone: a comment, and the year as `date` and C's asctime write it."""
_NAMED_ZONES = {
    **dict.fromkeys(("", "UT", "UTC", "GMT", "Z"), "+0000"),
    **{"EST": "-0500", "EDT": "-0400", "CST": "-0600", "CDT": "-0500"},
    **{"MST": "-0700", "MDT": "-0600", "PST": "-0800", "PDT": "-0700"},
}
"""RFC 822, 5.1. Other names mean different zones to different people."""
_NUMBER = re.compile(r"\d{1,20}(?:\.\d{1,20})?", re.ASCII)


def read_moment(value: object) -> int | float:
    """Return Unix seconds for a number or text, with the fraction it has.

    Numbers of 11 digits and fewer before the point are seconds; 12 to 14 are milliseconds, 15 to 18 microseconds. A
    time without a zone is taken for UTC, one in a zone with an unknown name is none. Raises ValueError.
    """
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            return _read_text(text)
        value = float(text) if "." in text else int(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"no time (found {type(value).__name__})")
    if 10**14 <= value < 10**18:
        value = value / 1_000_000
    elif 10**11 <= value < 10**14:
        value = value / 1000
    return check_moment(value)


def check_moment(seconds: int | float) -> int | float:
    """Return Unix seconds unchanged when a file name can carry them. Raises ValueError."""
    if not 1 <= seconds < YEAR_10000:  # false for NaN too
        raise ValueError(f"no time between 1970 and 9999 (found {seconds})")
    return seconds


def _read_text(text: str) -> int | float:
    match = _ISO.fullmatch(text)
    if not match:
        return check_moment(_read_mail_date(text))
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    # A leap second is the next minute's first, as every clock of a computer has it.
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
