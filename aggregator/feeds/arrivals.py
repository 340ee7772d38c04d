"""What comes to `compress`, and which periods it belongs to."""

from __future__ import annotations

import msgspec

from aggregator.errors import Reject
from aggregator.feeds.layout import bundle_start, parse_feed_name, read_stamp
from aggregator.feeds.manifest import Tick
from aggregator.feeds.periods import Record

MAX_ROW = 1_000_000
"""Ticks missed in a row that one message may tell of: two weeks of a tick every second."""


class Order(msgspec.Struct, kw_only=True):
    """What the stage tells itself to do with a feed and period."""

    feed: str
    start: str
    revision: int = 0
    force: bool = False
    """Close the period whether or not its time has come."""


class Arrival(msgspec.Struct, kw_only=True):
    """What `filter` says of one tick, or of a row of missed ones; or an order."""

    close: Order | None = None
    clear: Order | None = None
    feed: str = ""
    tick: Tick | None = None
    publication: str = ""
    published_ms: int | None = None
    url: str = ""
    period_ms: int = 0
    node: str = ""
    missed_from_ms: int | None = None
    missed_to_ms: int | None = None


def check_arrival(arrival: Arrival) -> Arrival:
    """Return what is a tick of a feed, or a row of them. Raises Reject."""
    try:
        parse_feed_name(arrival.feed)
    except ValueError as error:
        raise Reject(f"no feed's name (found {arrival.feed[:80]!r})") from error
    first, last = arrival.missed_from_ms, arrival.missed_to_ms
    is_row = first is not None and last is not None and first <= last and arrival.period_ms > 0
    if (arrival.tick is None) != is_row:
        raise Reject("no tick of a feed: needs either tick, or missed_from_ms, missed_to_ms and period_ms")
    if is_row and (last - first) // arrival.period_ms > MAX_ROW:  # type: ignore[operator]
        raise Reject(f"more than {MAX_ROW} ticks missed in a row: was the clock wrong?")
    return arrival


def records_of(arrival: Arrival, node: str, period_s: int) -> list[tuple[int, Record]]:
    """Return the records of a message by the start of the period they belong to."""
    source = {"node": arrival.node or node, "url": arrival.url, "period_ms": arrival.period_ms}
    if arrival.tick is not None:
        start = bundle_start(arrival.tick.planned_ms // 1000, period_s)
        if not arrival.publication or arrival.published_ms is None:
            return [(start, Record(tick=arrival.tick, **source))]  # type: ignore[arg-type]
        published = bundle_start(arrival.published_ms // 1000, period_s)
        if published == start:
            return [(start, Record(tick=arrival.tick, publication=arrival.publication, **source))]  # type: ignore[arg-type]
        alone = Record(node=arrival.node or node, publication=arrival.publication)
        return [(start, Record(tick=arrival.tick, **source)), (published, alone)]  # type: ignore[arg-type]
    assert arrival.missed_from_ms is not None and arrival.missed_to_ms is not None
    rows = []
    at, step = arrival.missed_from_ms, arrival.period_ms
    while at <= arrival.missed_to_ms:
        start = bundle_start(at // 1000, period_s)
        last_ms = min(arrival.missed_to_ms, (start + period_s) * 1000 - 1)
        rows.append((start, Record(missed_from_ms=at, missed_to_ms=last_ms, **source)))  # type: ignore[arg-type]
        at += ((last_ms - at) // step + 1) * step
    return rows


def period_of(order: Order) -> tuple[str, int]:
    """Return the feed and start that an order names. Raises Reject."""
    try:
        return parse_feed_name(order.feed), read_stamp(order.start)
    except ValueError as error:
        raise Reject(f"no feed and start (found {order.feed[:80]!r}, {order.start[:80]!r})") from error
