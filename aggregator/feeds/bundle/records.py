"""Assign the messages that come to `compress` to the periods of their ticks and publications."""

from __future__ import annotations

import msgspec

from aggregator.feeds.bundle.openperiods import Record
from aggregator.feeds.messages.ticks import Filtered, Missed
from aggregator.feeds.naming.stamps import bundle_start


def records_of(arrival: Filtered | Missed, period_s: int) -> list[tuple[int, Record]]:
    """Return the records of a message, each with the start of the period that it belongs to."""
    if isinstance(arrival, Missed):
        row = Record(
            node=arrival.node,
            instance=arrival.instance,
            url=arrival.url,
            period_ms=arrival.period_ms,
            missed_from_ms=arrival.missed_from_ms,
            missed_to_ms=arrival.missed_to_ms,
        )
        return parts_of(row, None, period_s)
    record = Record(
        node=arrival.node,
        instance=arrival.instance,
        url=arrival.url,
        period_ms=arrival.period_ms,
        tick=arrival.tick,
        publication=arrival.publication,
    )
    return parts_of(record, arrival.published_ms // 1000 if arrival.published_ms is not None else None, period_s)


def parts_of(record: Record, published_at: int | None, period_s: int) -> list[tuple[int, Record]]:
    """Return a record with the start of its period, divided into parts when it belongs to several periods."""
    published = bundle_start(published_at, period_s) if record.publication and published_at is not None else None
    if record.tick is not None:
        start = bundle_start(record.tick.planned_ms // 1000, period_s)
        if published in (None, start):
            return [(start, record)]
        alone = Record(
            node=record.node,
            instance=record.instance,
            url=record.url,
            period_ms=record.period_ms,
            publication=record.publication,
            brought_by=record.tick,
        )
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
