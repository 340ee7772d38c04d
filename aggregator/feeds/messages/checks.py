"""Checks of the fields in feeds' messages; each raises ValueError with the value found."""

from __future__ import annotations

import re

from aggregator.config.hints import shorten
from aggregator.feeds.bundle.manifest import Tick
from aggregator.feeds.naming.feednames import is_feed_name, is_node_name
from aggregator.feeds.naming.stamps import is_bundle_start, read_stamp
from aggregator.feeds.reading.dates import YEAR_10000

LONGEST_ROW = 1_000_000
"""The most missed ticks that one message may report: eleven days with a tick every second."""
LONGEST_ROW_MS = 31 * 86_400_000
"""The longest time that the missed ticks of one message may span, as each bundle in it gets a record."""
LONGEST_PERIOD_MS = 7 * 86_400_000

_SHA256 = re.compile("[0-9a-f]{64}")
_INSTANCE = re.compile("[A-Za-z0-9_-]{1,64}", re.ASCII)


def check_feed(name: str) -> None:
    """Raise ValueError unless a text can be a feed's name."""
    if not is_feed_name(name):
        raise ValueError(f"no feed's name (found {shorten(name)})")


def check_node(name: str) -> None:
    """Raise ValueError unless a text can be a node's name."""
    if not is_node_name(name):
        raise ValueError(f"no node's name (found {shorten(name)}); allowed: letters, digits, _ . - (at most 80)")


def check_instance(text: str) -> None:
    """Raise ValueError unless a text is empty or can be the id of an instance."""
    if text and not _INSTANCE.fullmatch(text):
        raise ValueError(f"no id of an instance (found {shorten(text)})")


def check_row(first_ms: int | None, last_ms: int | None, period_ms: int) -> None:
    """Raise ValueError unless the values describe a row of missed ticks within the limits."""
    if first_ms is None or last_ms is None or first_ms > last_ms:
        raise ValueError("neither a tick nor a row of missed ones: needs `tick`, or missed_from_ms up to missed_to_ms")
    if (last_ms - first_ms) // period_ms >= LONGEST_ROW:
        raise ValueError(f"a row of more than {LONGEST_ROW} missed ticks")
    if last_ms - first_ms > LONGEST_ROW_MS:
        raise ValueError(f"a row of missed ticks over more than {LONGEST_ROW_MS // 86_400_000} days")


def check_tick(tick: Tick) -> None:
    """Raise ValueError for a tick with impossible values."""
    for name in ("planned_ms", "started_ms", "ended_ms", "header_ms"):
        moment = getattr(tick, name)
        if moment is not None and not 0 <= moment < YEAR_10000 * 1000:
            raise ValueError(f"no time between 1970 and 9999 in {name} (found {moment})")
    for name in ("status", "wire_bytes", "size_bytes"):
        number = getattr(tick, name)
        if number is not None and not 0 <= number < 1 << 53:
            raise ValueError(f"no size or number in {name} (found {number})")
    if tick.sha256:
        check_sha256(tick.sha256)
    if len(tick.flags) > 20 or any(len(flag) > 40 for flag in tick.flags):
        raise ValueError("more or longer flags than there are")


def check_sha256(text: str) -> None:
    """Raise ValueError unless a text is a SHA-256 in hexadecimal digits."""
    if not _SHA256.fullmatch(text):
        raise ValueError(f"no SHA-256 (found {shorten(text)})")


def check_start(stamp: str) -> None:
    """Raise ValueError for a time at which no bundle can begin."""
    try:
        start = read_stamp(stamp)
    except ValueError:
        raise ValueError(f"no start of a bundle (found {shorten(stamp)})") from None
    if start < 0 or not is_bundle_start(start):
        raise ValueError(f"no bundle begins then (found {shorten(stamp)})")
