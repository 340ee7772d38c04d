"""Do things again and again at planned times: each thing has one timer from its beginning to its end.

A grid of planned times that nothing shifts: whatever happened, the next time follows from the one before. The timer of
a thing has its name and generation as its key, so that it waits once; of two generations that are under way (one was
thought lost) the younger counts, and the older one ends by itself. So a thing is never forgotten and never scheduled
twice. The section's cursors, with times in Unix milliseconds: `KIND:NAME` has the generation of a thing's timer and its
period then, `seen:NAME` when it last came, or up to half an hour before that, and `clock` what time it last was.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from aggregator.runtime.context import Context
from aggregator.runtime.contract import Cursor

SEEN = "seen:"
SEEN_EVERY_MS = 1_800_000
"""How often a sign of life is stored: 10,000 things then write six of them a second."""
LOST_AFTER_MS = 7_200_000
"""A thing without a sign of life for this time and three periods, while others showed some, has lost its timer."""
CLOCK = "clock"
CLOCK_EVERY_MS = 5_000
"""How often the time is stored, and how far the clock may go back before everything starts anew."""


class Timing(Protocol):
    """The planned times of a thing, in Unix milliseconds."""

    @property
    def period_ms(self) -> int:
        """About how far two planned times are apart."""

    def first(self, now_ms: int) -> int:
        """Return the first planned time of a thing that begins at `now_ms`."""

    def next_after(self, at_ms: int) -> int:
        """Return the first planned time after a moment."""


class Every(NamedTuple):
    """A time in each period, `phase_ms` after the period's beginning; periods are counted from 1970 on."""

    period_ms: int
    phase_ms: int = 0

    def first(self, now_ms: int) -> int:
        """Return the first planned time, which is the next one."""
        return self.next_after(now_ms)

    def next_after(self, at_ms: int) -> int:
        """Return the first planned time after a moment."""
        return self.last_until(at_ms) + self.period_ms

    def last_until(self, at_ms: int) -> int:
        """Return the last planned time up to a moment."""
        return (at_ms - self.phase_ms) // self.period_ms * self.period_ms + self.phase_ms


class Due(NamedTuple):
    """The timer that is to be set for a thing."""

    name: str
    planned_ms: int
    generation: int
    former: int
    """The generation whose timer is to be cancelled; 0 when there was none."""


def timer_key(name: str, generation: int) -> str:
    """Return the key of a thing's timer. A timer of an older generation cannot replace it, and ends by itself."""
    return f"{name}/{generation}"


def split_timer_key(key: str) -> tuple[str, str] | None:
    """Return the name of a scheduled thing and its timer's generation; None for the key of another timer."""
    name, _, generation = key.rpartition("/")
    return (name, generation) if name and generation.isdecimal() else None


class Begun(NamedTuple):
    """The beginning of a timer."""

    at_ms: int
    """When the timer began; this is also its generation."""
    period_ms: int
    """The period at that time; 0 where it was not noted."""


def read_begun(text: str) -> Begun:
    """Read the cursor of a thing; an old cursor may lack the period."""
    at_ms, _, period_ms = text.partition(" ")
    return Begun(int(at_ms), int(period_ms or 0))


class Schedule:
    """The things that a stage does at planned times. Safe to use from several threads."""

    def __init__(self, context: Context, kind: str) -> None:
        """`kind` is a word for the things, such as `feed`."""
        self._context = context
        self._begins = f"{kind}:"
        self._lock = threading.Lock()
        self._begun: dict[str, int] = {}
        self._ended: list[str] = []
        self._seen: dict[str, int] = {}
        self._signs: dict[str, int] = {}
        """Signs of life that are still to be stored."""
        self._clock_ms = 0

    def begin(self, timings: Mapping[str, Timing], now_ms: int) -> Iterator[Due | Cursor]:
        """Yield the first timer of each thing that never had one, has lost its timer, or has one that comes too late.

        For `Stage.seed`. A timer comes too late if it was planned by a clock that ran ahead, because it is due only
        when the clock has caught up, or if it was planned with a longer period. A timer whose message was dropped from
        the dead letters never comes, and neither does one that an operator dropped: it begins anew with the planned
        time after its last known sign of life, so that the times in between can be reported as missed.
        """
        cursors = self._context.cursors
        clock_ms = int(cursors.get(CLOCK, "0"))
        set_back = clock_ms > now_ms + CLOCK_EVERY_MS
        if set_back:
            self._context.log.warning("clock_set_back by_s=%.0f: everything starts anew", (clock_ms - now_ms) / 1000)
        if set_back or now_ms - clock_ms >= CLOCK_EVERY_MS:
            yield Cursor(CLOCK, str(now_ms))
        begun = {name: read_begun(text) for name, text in self._named(self._begins)}
        self._begun = {name: known.at_ms for name, known in begun.items()}
        self._seen = {name: int(text) for name, text in self._named(SEEN)}
        for name, timing in timings.items():
            known = begun.get(name, Begun(0, 0))
            if set_back or name not in begun or timing.period_ms < known.period_ms:
                first_ms = timing.first(now_ms)
            elif self._has_no_timer(name, known) or self._is_lost(name, timing, known, clock_ms):
                self._context.log.warning("timer_lost name=%s: it begins anew", name)
                first_ms = timing.next_after(self._last_sign(name, known))
            else:
                if known.period_ms == 0:
                    yield Cursor(f"{SEEN}{name}", str(now_ms))
                if known.period_ms != timing.period_ms:
                    yield Cursor(f"{self._begins}{name}", f"{known.at_ms} {timing.period_ms}")
                continue
            generation = self._begun[name] = max(now_ms, known.at_ms + 1)
            yield Due(name, first_ms, generation, known.at_ms)
            yield Cursor(f"{self._begins}{name}", f"{generation} {timing.period_ms}")

    def _named(self, prefix: str) -> Iterator[tuple[str, str]]:
        for name, text in self._context.cursors.items():
            if name.startswith(prefix):
                yield name.removeprefix(prefix), text

    def _has_no_timer(self, name: str, known: Begun) -> bool:
        """True when it is certain that a thing has no timer, and none that just went off."""
        waiting = self._context.waiting_timers
        return waiting is not None and timer_key(name, known.at_ms) not in waiting

    def _is_lost(self, name: str, timing: Timing, known: Begun, clock_ms: int) -> bool:
        """True when a thing's last sign of life is long before `clock_ms`, when others showed theirs."""
        quiet_ms = clock_ms - self._last_sign(name, known)
        return known.period_ms > 0 and quiet_ms > LOST_AFTER_MS + 3 * max(timing.period_ms, known.period_ms)

    def _last_sign(self, name: str, known: Begun) -> int:
        return max(self._seen.get(name, 0), known.at_ms)

    def cursors(self, now_ms: int) -> Iterator[Cursor]:
        """Yield the cursors to store: signs of life, the time now and then, and deletions for things that ended."""
        with self._lock:
            ended, self._ended = self._ended, []
            signs, self._signs = self._signs, {}
        for name, seen_ms in signs.items():
            yield Cursor(f"{SEEN}{name}", str(seen_ms))
        for name in ended:
            yield Cursor(f"{self._begins}{name}", None)
            yield Cursor(f"{SEEN}{name}", None)
        if now_ms - self._clock_ms >= CLOCK_EVERY_MS:
            self._clock_ms = now_ms
            yield Cursor(CLOCK, str(now_ms))

    def end(self, name: str) -> None:
        """Forget a thing that no longer exists."""
        with self._lock:
            self._ended.append(name)
            self._begun.pop(name, None)
            self._seen.pop(name, None)
            self._signs.pop(name, None)

    def is_current(self, name: str, generation: int) -> bool:
        """True for the current timer of a thing, or a younger timer than was known; False for an older timer."""
        with self._lock:
            if generation < self._begun.get(name, 0):
                return False
            self._begun[name] = generation
            return True

    def see(self, name: str, now_ms: int) -> None:
        """Count a timer that went off as a sign of life of its thing."""
        with self._lock:
            if abs(now_ms - self._seen.get(name, 0)) >= SEEN_EVERY_MS:
                self._seen[name] = self._signs[name] = now_ms
