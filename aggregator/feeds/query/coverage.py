"""Measure how complete the collected data is: for each feed and clock hour, the outcomes of all planned ticks.

Expected ticks are the ticks with an outcome plus the ticks without a record. A tick is covered when its outcome tells
for certain what the feed showed then: new contents, the same, or not modified. When several nodes plan the same ticks,
the best outcome of each tick counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from aggregator.feeds.bundle.manifest import COVERED, MIN_TICK_MS, OUTCOMES, Manifest, Outcome, Tick
from aggregator.feeds.query.catalogue import Span
from aggregator.feeds.query.evidence import Evidence

HOUR_S = 3600
NOT_RUNNING = "not running"

_UNDER_WAY_MS = 60_000
"""How long a tick may be under way before its record must exist."""


class Gap(NamedTuple):
    """A time in which no tick was covered, in Unix milliseconds."""

    start_ms: int
    end_ms: int
    cause: str

    @property
    def seconds(self) -> float:
        """The length of the gap."""
        return (self.end_ms - self.start_ms) / 1000


class Hour(NamedTuple):
    """One feed in one clock hour, or in the requested part of the hour."""

    start: int
    expected: int | None
    """The number of planned ticks; None when it is not known, as for an archive without a manifest."""
    outcomes: Mapping[Outcome, int]
    unrecorded: int
    """The number of planned ticks without a record, as the collector did not run."""
    publications: int
    gap: Gap | None
    """The longest gap; None when every tick was covered."""

    @property
    def completeness(self) -> float | None:
        """The share of the planned ticks that were covered; None when it is not known."""
        if not self.expected:
            return None
        return sum(self.outcomes[outcome] for outcome in COVERED) / self.expected


class Coverage(NamedTuple):
    """One feed over a span."""

    feed: str
    hours: list[Hour]
    gap: Gap | None
    """The longest gap of the span; it may extend over several hours."""
    problems: list[str]

    @property
    def completeness(self) -> float | None:
        """The share of all planned ticks that were covered; None when it is not known."""
        expected = sum(hour.expected or 0 for hour in self.hours)
        covered = sum(hour.outcomes[outcome] for hour in self.hours for outcome in COVERED)
        return covered / expected if expected else None


class _Slot(NamedTuple):
    """One planned tick."""

    planned_ms: int
    tick_ms: int
    tick: Tick | None
    """The record of the tick; None when there is none."""

    @property
    def is_covered(self) -> bool:
        return self.tick is not None and self.tick.outcome in COVERED

    @property
    def cause(self) -> str:
        if self.tick is None:
            return NOT_RUNNING
        return f"{self.tick.outcome}: {self.tick.error}" if self.tick.error else self.tick.outcome


def measure(
    feed: str, evidence: Evidence, span: Span, now: float, *, tick_ms: int = 0, strict: bool, to_end: bool = False
) -> Coverage:
    """Return a feed's coverage by the evidence.

    `tick_ms` is the feed's configured period, 0 when the feed is not configured (any more). A feed that is not
    configured has no expected ticks after its last record, unless `to_end`. Unless `strict`, no feed has expected ticks
    before its first record.
    """
    lines = _timelines(evidence.manifests)
    bounds = _bounds(lines, evidence, span, int(now * 1000), to_end=to_end or tick_ms > 0, strict=strict)
    slots = _best_hours([_slots(line, bounds) for line in lines] or [_slots([], bounds, tick_ms)])
    unexplained: Counter[int] = Counter()
    for start, count in evidence.unexplained.items():
        unexplained[_hour_of(start * 1000)] += count
    # in an hour of an archive without manifests, a tick without a record was not necessarily missed
    slots = [slot for slot in slots if slot.tick or _hour_of(slot.planned_ms) not in unexplained]
    by_hour = {start: [*group] for start, group in groupby(slots, lambda slot: _hour_of(slot.planned_ms))}
    published = _publications(evidence.manifests) + unexplained
    hours = [
        _hour(start, by_hour.get(start, []), published[start], is_explained=start not in unexplained)
        for start in sorted({*by_hour, *unexplained})
    ]
    return Coverage(feed, hours, _longest_gap(slots), evidence.problems)


def _hour(start: int, slots: Sequence[_Slot], publications: int, *, is_explained: bool) -> Hour:
    counts = Counter(slot.tick.outcome for slot in slots if slot.tick)
    outcomes = {outcome: counts[outcome] for outcome in OUTCOMES}
    if not is_explained and not counts:
        return Hour(start, None, outcomes, 0, publications, None)
    return Hour(start, len(slots), outcomes, len(slots) - counts.total(), publications, _longest_gap(slots))


def _timelines(manifests: Iterable[Manifest]) -> list[list[_Slot]]:
    """Return the recorded ticks in order, one list for each plan; nodes with the same plan share a list."""
    by_node: dict[str, dict[int, _Slot]] = {}
    for manifest in manifests:
        mine = by_node.setdefault(manifest.header.node, {})
        tick_ms = manifest.header.tick_ms or _usual_distance(manifest.ticks)
        for tick in manifest.ticks:
            mine[tick.planned_ms] = _better(_Slot(tick.planned_ms, tick_ms, tick), mine.get(tick.planned_ms))
    lines: dict[tuple[int, int], dict[int, _Slot]] = {}
    for mine in by_node.values():
        # the first tick after a start is not on the plan of the others, so the most frequent plan counts
        plans = Counter((slot.tick_ms, slot.planned_ms % max(slot.tick_ms, 1)) for slot in mine.values())
        line = lines.setdefault(max(plans, key=lambda plan: (plans[plan], plan), default=(0, 0)), {})
        for planned_ms, slot in mine.items():
            line[planned_ms] = _better(slot, line.get(planned_ms))
    return [[line[planned_ms] for planned_ms in sorted(line)] for line in lines.values() if line]


def _best_hours(lines: Iterable[Iterable[_Slot]]) -> list[_Slot]:
    """Return for each clock hour the ticks of the plan with the most covered ticks, then the most recorded ones."""
    by_hour: dict[int, list[list[_Slot]]] = {}
    for line in lines:
        for start, group in groupby(line, lambda slot: _hour_of(slot.planned_ms)):
            by_hour.setdefault(start, []).append([*group])
    best = [max(by_hour[start], key=_worth) for start in sorted(by_hour)]
    return [slot for hour in best for slot in hour]


def _worth(slots: Sequence[_Slot]) -> tuple[int, int]:
    return sum(slot.is_covered for slot in slots), sum(slot.tick is not None for slot in slots)


def _better(slot: _Slot, rival: _Slot | None) -> _Slot:
    if rival is None or rival.tick is None or slot.tick is None:
        return slot
    return min(slot, rival, key=lambda known: OUTCOMES.index(known.tick.outcome) if known.tick else len(OUTCOMES))


def _usual_distance(ticks: Sequence[Tick]) -> int:
    """Return the most frequent distance of ticks whose period was not recorded; 0 when it cannot be derived."""
    distances = Counter(after.planned_ms - before.planned_ms for before, after in pairwise(ticks))
    distances = Counter({distance: count for distance, count in distances.items() if distance >= MIN_TICK_MS})
    return max(distances, key=lambda distance: (distances[distance], -distance), default=0)


def _bounds(
    lines: Sequence[Sequence[_Slot]], evidence: Evidence, span: Span, now_ms: int, *, to_end: bool, strict: bool
) -> tuple[int, int]:
    """Return the start and end of the time in which ticks are expected, in Unix milliseconds."""
    start_ms, end_ms = span.start * 1000, min(span.end * 1000, now_ms)
    recorded = [(slot.planned_ms, slot.tick_ms) for line in lines for slot in (line[0], line[-1])]
    known = [planned_ms for planned_ms, _ in recorded] + [start * 1000 for start in evidence.unexplained]
    if known and not strict:
        start_ms = max(start_ms, min(known))
    last_ms, tick_ms = max(recorded, default=(0, 0))
    if not to_end and known:
        end_ms = min(end_ms, max(last_ms + 1, *known))
    elif last_ms and now_ms - last_ms < _UNDER_WAY_MS + 3 * tick_ms:
        end_ms = min(end_ms, last_ms + 1)
    return start_ms, end_ms


def _slots(line: Sequence[_Slot], bounds: tuple[int, int], tick_ms: int = 0) -> Iterator[_Slot]:
    """Yield the planned ticks within bounds in order; ticks without a record are added at their planned times."""
    start_ms, end_ms = bounds
    inside = [slot for slot in line if start_ms <= slot.planned_ms < end_ms]
    if not inside:
        period = line[0].tick_ms if line else tick_ms
        first_ms = start_ms + (line[0].planned_ms - start_ms) % period if line and period else start_ms
        yield from _blank(first_ms, end_ms, period)
        return
    first = inside[0]
    if first.tick_ms:
        yield from _blank(
            first.planned_ms - (first.planned_ms - start_ms) // first.tick_ms * first.tick_ms,
            first.planned_ms,
            first.tick_ms,
        )
    for slot, after in zip(inside, [*inside[1:], None], strict=True):
        yield slot
        until_ms = after.planned_ms - slot.tick_ms // 2 if after else end_ms
        yield from _blank(slot.planned_ms + slot.tick_ms, until_ms, slot.tick_ms)


def _blank(start_ms: int, end_ms: int, tick_ms: int) -> Iterator[_Slot]:
    if tick_ms > 0:
        for planned_ms in range(start_ms, end_ms, tick_ms):
            yield _Slot(planned_ms, tick_ms, None)


def _longest_gap(slots: Iterable[_Slot]) -> Gap | None:
    gaps = []
    for is_covered, group in groupby(slots, lambda slot: slot.is_covered):
        if not is_covered:
            lost = [*group]
            gaps.append(Gap(lost[0].planned_ms, lost[-1].planned_ms + lost[-1].tick_ms, _cause(lost)))
    return max(gaps, key=lambda gap: gap.seconds, default=None)


def _cause(lost: Sequence[_Slot]) -> str:
    """Return the most frequent cause, and if there are others, in how many of the ticks it was the cause."""
    (cause, count), *others = Counter(slot.cause for slot in lost).most_common()
    return f"{cause} ({count} of {len(lost)})" if others else cause


def _publications(manifests: Iterable[Manifest]) -> Counter[int]:
    """Return for each hour how many different bodies have a timestamp in that hour."""
    found = {
        (_hour_of(tick.header_ms if tick.header_ms is not None else tick.planned_ms), tick.sha256)
        for manifest in manifests
        for tick in manifest.ticks
        if tick.outcome == "ok" and tick.sha256
    }
    return Counter(hour for hour, _ in found)


def _hour_of(moment_ms: int) -> int:
    """Return the Unix seconds at which a clock hour begins."""
    return moment_ms // 1000 // HOUR_S * HOUR_S
