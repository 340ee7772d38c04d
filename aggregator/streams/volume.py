"""How many events a stream brings in an hour, and whether that is far less than usual."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import exp, log, sqrt
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from aggregator.files.durable import write_durably

FALLEN = "below usual"
"""The note of a worker whose stream has fallen. Notes are shown in the order of their names, the first ones whole."""
HOUR_S = 3600
_HOUR_MS = HOUR_S * 1000
DAY_H = 24
WEEK_H = 7 * DAY_H
WEEKS = 8
"""So many weeks are remembered and compared."""
_KEPT_H = WEEKS * WEEK_H + DAY_H
_SAVE_S = 300.0
"""A kill loses at most the counts of so much time, which then counts as time in which nobody looked."""
_FELL_BELOW = 0.5
"""The share of the usual volume below which a stream has fallen."""
_CHANCE = 5.0
"""How unlikely a fall must be by chance, in standard deviations of a count (its root): with 25 events an hour and
fewer, chance alone leaves hours empty, and nothing is ever told."""
_UPS_AND_DOWNS = 3.0 * 1.4826
"""How far a fall must be outside what the stream does anyway: three standard deviations of the logarithms of the hours
compared, in median deviations from the median. One burst among the hours changes neither."""


class Hour(msgspec.Struct, array_like=True):
    """What is known of one clock hour."""

    events: int = 0
    unseen_s: float = 0.0
    """How much of the hour the stream was not connected, or its process did not run."""


class Noted(msgspec.Struct):
    """The file beside the data."""

    asked: str
    """What the stream asked for: the volume of another filter says nothing."""
    until_s: float
    """Until when it is known, in Unix seconds."""
    hours: dict[int, Hour]
    """By the number of the hour since 1970."""


class Judged(NamedTuple):
    """An hour beside the usual volume."""

    hour: int
    events: int
    usual: int
    factor: float
    """By how much less the stream brings now and then without anything being wrong."""
    compared: str
    """What the usual volume is made of, in words."""

    @property
    def fell(self) -> bool:
        """True for far less than usual, less than chance explains, and less than the stream's own ups and downs."""
        return (
            self.events < self.usual * _FELL_BELOW
            and self.usual - self.events > _CHANCE * sqrt(self.usual)
            and (self.events + 1) * self.factor < self.usual + 1
        )


class Volume:
    """The events of each hour of the last weeks.

    They are in a file of their own: neither a restart nor an emptied Redis forgets them, and they do not go when
    recorded files are moved into a store. Events that come again after a kill count twice, which changes no median.
    """

    def __init__(self, path: Path, asked: str) -> None:
        """`asked` stands for what is asked for; the counts of another question are forgotten."""
        self._path = path
        self._asked = asked
        self._hours: dict[int, Hour] = {}
        self._until_s = 0.0
        self._saved_s = 0.0
        self._judged = 0

    def open(self, now: float) -> None:
        """Read what is known. The time since then, or since the hour began, counts as unseen."""
        try:
            noted = msgspec.json.decode(self._path.read_bytes(), type=Noted)
        except (OSError, msgspec.DecodeError):
            noted = None  # a new stream, or a damaged file: it learns anew
        if noted is not None and noted.asked == self._asked:
            self._hours, self._until_s = noted.hours, noted.until_s
        else:
            self._until_s = now // HOUR_S * HOUR_S
        self._saved_s = now
        self.look(now, is_seen=False)

    def add(self, moments_ms: Iterable[int]) -> None:
        """Count events by the moments when they were received."""
        for number, events in Counter(moment_ms // _HOUR_MS for moment_ms in moments_ms).items():
            self._hour(number).events += events

    def look(self, now: float, *, is_seen: bool) -> None:
        """Say that all events until now are counted, and whether the stream was seen since the last call."""
        begin_s = max(self._until_s, now - _KEPT_H * HOUR_S)
        while not is_seen and begin_s < now:
            end_s = min((begin_s // HOUR_S + 1) * HOUR_S, now)
            self._hour(int(begin_s // HOUR_S)).unseen_s += end_s - begin_s
            begin_s = end_s
        self._until_s = now
        self._hour(int(now // HOUR_S))  # an hour without any event is one of zero events

    def is_due(self, now: float) -> bool:
        """Tell whether the file is old enough to be written anew."""
        return abs(now - self._saved_s) >= _SAVE_S

    def save(self, now: float) -> None:
        """Write the file. Raises OSError."""
        self._saved_s = now
        newest = int(now // HOUR_S)
        # an hour of the future was counted while the clock was wrong
        self._hours = {number: hour for number, hour in self._hours.items() if newest - _KEPT_H <= number <= newest}
        write_durably(self._path, msgspec.json.encode(Noted(self._asked, self._until_s, self._hours)), 0o640)

    def judge(self, now: float) -> Judged | None:
        """Return how the last whole hour was, once for each hour; None when nothing can be said of it.

        It is compared with the median of the same hour of the weeks before, because nights and weekends are quiet in
        their own way; in the first week with that of the days before. Where fewer than three are known, one of them
        may have been a burst: then the day around them counts too, if its median is less.
        """
        hour = int(now // HOUR_S) - 1
        if hour == self._judged:
            return None
        self._judged = hour
        events = self._rate(hour)
        if events is None:
            return None
        period, noun = "week", "week"
        same = self._rates(hour - WEEK_H * week for week in range(1, WEEKS + 1))
        day = range(hour - WEEK_H - DAY_H // 2, hour - WEEK_H + DAY_H // 2)
        if not same:
            period, noun = "day", "day"
            same = self._rates(hour - DAY_H * number for number in range(1, WEEK_H // DAY_H))
            day = range(hour - DAY_H, hour)
        if not same:
            return None
        usual = median(same)
        factor = exp(_UPS_AND_DOWNS * median(abs(log((rate + 1) / (usual + 1))) for rate in same))
        if len(same) < 3 and (around := self._rates(day)):
            usual = min(usual, median(around))
        compared = f"this hour of the {period}, {len(same)} {noun}{'s' * (len(same) > 1)}"
        return Judged(hour, round(events), round(usual), factor, compared)

    def _hour(self, number: int) -> Hour:
        return self._hours.setdefault(number, Hour())

    def _rates(self, hours: Iterable[int]) -> list[float]:
        return [rate for hour in hours if (rate := self._rate(hour)) is not None]

    def _rate(self, number: int) -> float | None:
        """Return the events of an hour as if all of it had been seen; None when less than half of it was."""
        hour = self._hours.get(number)
        if hour is None or hour.unseen_s > HOUR_S / 2:
            return None
        return hour.events / (1 - hour.unseen_s / HOUR_S)
