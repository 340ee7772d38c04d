"""Measure what manifests say of a feed."""

from __future__ import annotations

from collections.abc import Iterable

from aggregator.feeds.bundle.manifest import Manifest, Tick
from aggregator.feeds.query.catalogue import Span
from aggregator.feeds.query.coverage import HOUR_S, Coverage, measure
from aggregator.feeds.query.evidence import Evidence
from tests.feeds.archives import START, TICK_MS, tick

SPAN = Span(START, START + HOUR_S)
LATER = START + 86_400.0


def cover(
    *manifests: Manifest, span: Span = SPAN, now: float = LATER, tick_ms: int = TICK_MS, strict: bool = True
) -> Coverage:
    """Measure what manifests say of a feed that is configured with a tick a minute."""
    return measure("nyct", Evidence(list(manifests), {}, []), span, now, tick_ms=tick_ms, strict=strict)


def full(numbers: Iterable[int] = range(60)) -> list[Tick]:
    """Return ticks that all went well, one a minute."""
    return [tick(number) for number in numbers]


def full_of(hour: int) -> list[Tick]:
    """Return all ticks of an hour, counted from the first one."""
    return [tick(number, start=START + hour * HOUR_S) for number in range(60)]
