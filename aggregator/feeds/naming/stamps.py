"""How times are written in names, and when the periods of bundles begin. All times are UTC."""

from __future__ import annotations

from datetime import datetime, timezone
from math import gcd
from typing import Annotated

from aggregator.config.settings import OptionType, parse_duration
from aggregator.feeds.reading.dates import YEAR_10000

DAY_S = 86_400
SHORTEST_BUNDLE_S = 60

STAMP = r"(\d{4}-\d\d-\d\dT\d{6}Z)"
"""The form of a text from `write_stamp`, as part of a regular expression."""


def parse_bundle_period(text: str) -> int:
    """Return the seconds that one bundle covers. Raises ValueError unless they divide a day."""
    seconds = parse_duration(text)
    if seconds < SHORTEST_BUNDLE_S or DAY_S % seconds:
        raise ValueError
    return int(seconds)


BundlePeriod = Annotated[
    int,
    OptionType(
        "bundle period", parse_bundle_period, "a duration from 1m to 1d that divides a day, such as 1h or 10m", "second"
    ),
]


def write_stamp(seconds: float) -> str:
    """Return `yyyy-mm-ddThhmmssZ` for Unix seconds; fractions are cut off."""
    return utc(int(seconds)).strftime("%Y-%m-%dT%H%M%SZ")


def read_stamp(text: str) -> int:
    """Return the Unix seconds of `yyyy-mm-ddThhmmssZ`. Raises ValueError."""
    return int(datetime.strptime(text, "%Y-%m-%dT%H%M%SZ").replace(tzinfo=timezone.utc).timestamp())


def bundle_start(published_at: float, period_s: int) -> int:
    """Return the start of the bundle that a publication belongs to."""
    return int(published_at) // period_s * period_s


def is_bundle_start(start: int) -> bool:
    """True for a time at which a bundle of some length may begin: lengths divide a day and are a minute or more."""
    return gcd(start % DAY_S, DAY_S) >= SHORTEST_BUNDLE_S


def utc(seconds: int) -> datetime:
    """Return Unix seconds as a datetime. Raises ValueError for a time that file names cannot express."""
    if not 0 <= seconds < YEAR_10000:
        raise ValueError(f"no time between 1970 and 9999 (found {seconds})")
    return datetime.fromtimestamp(seconds, timezone.utc)
