"""Token buckets, one for each value of a rule: how many events a second may pass because of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from aggregator.runtime.contract import Remember
from aggregator.streams.rules.rule import Rule


class Moment(NamedTuple):
    """When an event was received, and what the clock says now, both in Unix seconds."""

    received: float
    clock: float


class _Bucket(NamedTuple):
    tokens: float
    passed_s: float
    """How much time had passed since the bucket was new."""
    since: Moment
    """When the bucket was new, and full."""


class Rates:
    """The rate that each value of a rule may have; what is left of it is remembered from event to event.

    A bucket holds `capacity` tokens and gets `rate` of them a second. An event takes `cost` tokens, and passes when
    half of them are there (or half of what the bucket can hold); the rest is owed. So the number that passes is
    rounded, and with a cost above 1 there are rates below one a second.

    As much time passes as lies between the events, or as the clock says if that is more. So a queue that waited is not
    thinned out, and no event's wrong time stops a bucket for ever. A time in the future does not count. Nor does the
    time before the first event that is handled, while other processes have older ones in hand.
    """

    def __init__(self, rate: float, capacity: int, cost: int) -> None:
        self._rate, self._capacity, self._cost = rate, capacity, cost
        self._enough = min(cost, capacity) / 2
        # by then a bucket is full whatever it owed, and a full one is as good as none
        self._full_after_s = (capacity + cost) / rate if rate else 0.0

    def take(
        self, matched: Iterable[Rule], moment: Moment, recall: Callable[[str], str | None]
    ) -> tuple[bool, Iterator[Remember]]:
        """Return whether an event passes, and what is to be remembered of the buckets.

        It passes when any value that matched has tokens; each of these is charged.
        """
        moment = Moment(min(moment), moment.clock)
        charged = {}
        names = bucket_names(matched)
        for name in names:
            bucket = self._filled(recall(name), moment)
            if bucket.tokens >= self._enough:
                charged[name] = bucket._replace(tokens=bucket.tokens - self._cost)
        return not names or bool(charged), self._remembered(charged)

    def _filled(self, text: str | None, moment: Moment) -> _Bucket:
        if text is None:
            return _Bucket(float(self._capacity), 0.0, moment)
        tokens, before_s, *since = map(float, text.split())
        # events of several streams and processes come a little out of order: time never goes back
        passed_s = max(before_s, moment.received - since[0], moment.clock - since[1])
        filled = min(float(self._capacity), tokens + (passed_s - before_s) * self._rate)
        return _Bucket(filled, passed_s, Moment(*since))

    def _remembered(self, buckets: Mapping[str, _Bucket]) -> Iterator[Remember]:
        for name, (tokens, passed_s, since) in buckets.items():
            text = f"{tokens:.6f} {passed_s:.6f} {since.received:.3f} {since.clock:.3f}"
            yield Remember(name, text, self._full_after_s)


def bucket_names(matched: Iterable[Rule]) -> list[str]:
    """Return under which names the buckets of these rules are remembered."""
    return list(dict.fromkeys(f"rate {rule.normal_value}" for rule in matched))
