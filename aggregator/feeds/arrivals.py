"""What comes to `compress`, and which periods it belongs to."""

from __future__ import annotations

import msgspec

from aggregator.errors import Reject
from aggregator.feeds.layout import bundle_start, parse_feed_name, read_stamp
from aggregator.feeds.manifest import Tick
from aggregator.feeds.messages import LONGEST_ROW
from aggregator.feeds.periods import Record


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
    if is_row and (last - first) // arrival.period_ms > LONGEST_ROW:  # type: ignore[operator]
        raise Reject(f"more than {LONGEST_ROW} ticks missed in a row: was the clock wrong?")
    return arrival


def records_of(arrival: Arrival, node: str, period_s: int) -> list[tuple[int, Record]]:
    """Return the records of a message by the start of the period they belong to."""
    is_published = arrival.tick is not None and arrival.published_ms is not None
    record = Record(
        node=arrival.node or node,
        url=arrival.url,
        period_ms=arrival.period_ms,
        tick=arrival.tick,
        missed_from_ms=0 if arrival.tick else arrival.missed_from_ms or 0,
        missed_to_ms=0 if arrival.tick else arrival.missed_to_ms or 0,
        publication=arrival.publication if is_published else "",
    )
    return parts_of(record, arrival.published_ms // 1000 if arrival.published_ms is not None else None, period_s)


def parts_of(record: Record, published_at: int | None, period_s: int) -> list[tuple[int, Record]]:
    """Return a record by the start of the period it belongs to, in parts when it belongs to several."""
    published = bundle_start(published_at, period_s) if record.publication and published_at is not None else None
    if record.tick is not None:
        start = bundle_start(record.tick.planned_ms // 1000, period_s)
        if published in (None, start):
            return [(start, record)]
        alone = Record(node=record.node, publication=record.publication)
        return [(start, msgspec.structs.replace(record, publication="")), (published, alone)]
    if not record.missed_to_ms:
        return [(published, record)] if published is not None else []
    rows = []
    at, step = record.missed_from_ms, max(record.period_ms, 1)
    while at <= record.missed_to_ms:
        start = bundle_start(at // 1000, period_s)
        last_ms = min(record.missed_to_ms, (start + period_s) * 1000 - 1)
        rows.append((start, msgspec.structs.replace(record, missed_from_ms=at, missed_to_ms=last_ms)))
        at += ((last_ms - at) // step + 1) * step
    return rows


def period_of(order: Order) -> tuple[str, int]:
    """Return the feed and start that an order names. Raises Reject."""
    try:
        return parse_feed_name(order.feed), read_stamp(order.start)
    except ValueError as error:
        raise Reject(f"no feed and start (found {order.feed[:80]!r}, {order.start[:80]!r})") from error
