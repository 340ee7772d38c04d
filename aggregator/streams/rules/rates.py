"""Token buckets, one for each value of a rule: how many events a second may pass because of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from aggregator.runtime.contract import Remember
from aggregator.streams.rules.rule import Rule

_LEAST_KEPT_S = 60.0


class Bucket(NamedTuple):
    """How many tokens there were, and when, in Unix seconds."""

    tokens: float
    at: float


class Rates:
    """The rate that each value of a rule may have; what is left of it is remembered from event to event.

    A bucket holds `capacity` tokens and gets `rate` of them a second. An event takes `cost` tokens, and passes while
    the bucket is not empty, so it may owe a part. With a cost above 1 there are rates below one a second.
    """

    def __init__(self, rate: float, capacity: int, cost: int) -> None:
        self._rate, self._capacity, self._cost = rate, capacity, cost
        self._kept_s = max(_LEAST_KEPT_S, 2 * (capacity + cost) / rate) if rate else 0.0

    def take(
        self, matched: Iterable[Rule], now: float, recall: Callable[[str], str | None]
    ) -> tuple[bool, Iterator[Remember]]:
        """Return whether an event at `now` (Unix seconds) passes, and what is to be remembered of the buckets.

        It passes when any value that matched has tokens; each of these is charged.
        """
        charged = {}
        names = bucket_names(matched)
        for name in names:
            bucket = self._filled(recall(name), now)
            if bucket.tokens > 0:
                charged[name] = Bucket(bucket.tokens - self._cost, bucket.at)
        return not names or bool(charged), self._remembered(charged)

    def _filled(self, text: str | None, now: float) -> Bucket:
        if text is None:
            return Bucket(float(self._capacity), now)
        tokens, at = map(float, text.split())
        # events of several streams may come a little out of order: time never goes back
        now = max(now, at)
        return Bucket(min(float(self._capacity), tokens + (now - at) * self._rate), now)

    def _remembered(self, buckets: Mapping[str, Bucket]) -> Iterator[Remember]:
        for name, bucket in buckets.items():
            # a bucket that was left alone for so long is full, and a full one is as good as none
            yield Remember(name, f"{bucket.tokens:.6f} {bucket.at:.3f}", self._kept_s)


def bucket_names(matched: Iterable[Rule]) -> list[str]:
    """Return under which names the buckets of these rules are remembered."""
    return list(dict.fromkeys(f"rate {rule.normal_value}" for rule in matched))
