"""Findings that stages report themselves: troubles of this moment, and losses that nobody has acknowledged yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aggregator.monitor.finding import Finding, level_after
from aggregator.runtime.reports import MOST_LASTING, Told
from aggregator.runtime.roster import WorkerFacts

OUTAGES = frozenset({"kafka_away", "rules_away", "tracker_away"})
"""Codes of reports about an outage of the stage, of which the stage knows more than its worker does."""
WORSENING = OUTAGES | {"kafka_refused", "unreadable"}
"""Codes of reports that are warnings at first and become errors once they have lasted."""


def reported(workers: Sequence[WorkerFacts], now: float, outage_after_s: float) -> Iterator[Finding]:
    """Yield the reports of the stages of living workers; a report that several processes make alike comes once."""
    seen: dict[tuple[str, str], Finding] = {}
    for worker in workers:
        for told in worker.reports:
            found = _finding(told)
            if told.code in WORSENING:
                found = found._replace(level=level_after(told.since, now, outage_after_s))
            known = seen.get((told.code, found.about))
            if known is None or told.since < (known.since or 0.0):
                seen[told.code, found.about] = found
    yield from seen.values()


def lasting(losses: Sequence[Told]) -> Iterator[Finding]:
    """Yield the losses that wait to be acknowledged."""
    for told in losses:
        name = f"{told.code}:{told.shown_about}"
        yield _finding(told)._replace(
            do=f"{_sentence(told.do)} Then: `run/aggregator health --acknowledge '{name}'`.".strip(),
            since=told.since or None,
        )
    if len(losses) >= MOST_LASTING:
        text = f"{len(losses):,} losses wait to be acknowledged; of further ones only the logs tell"
        do = "Look at them, then `run/aggregator health --acknowledge CODE` for each code."
        yield Finding("findings_full", "error", "redis", text, None, do)


def _finding(told: Told) -> Finding:
    return Finding(told.code, told.level, told.shown_about, told.text, told.since, _sentence(told.do))


def _sentence(words: str) -> str:
    """Return the advice of a stage as a sentence, with a capital letter and a full stop."""
    return f"{words[:1].upper()}{words[1:].removesuffix('.')}." if words else ""
