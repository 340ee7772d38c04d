"""Tell in advance how a build affects running programs and existing state.

The current build is compared with the coming one. An effect that cannot be undone, or cannot be known, is put to the
user as a question.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from aggregator.config.builds import Build, BuildFacts, Builds
from aggregator.config.configuration import Config
from aggregator.config.hints import counted
from aggregator.config.loading import redis_of_build
from aggregator.config.redisurl import mask
from aggregator.runtime.connection import AWAY, REFUSED, connect
from aggregator.runtime.keys import Keys
from aggregator.runtime.reading import cursor_names
from aggregator.runtime.residue import Residue, residues
from aggregator.runtime.roster import roster
from aggregator.supervision.builtnotes import new_build
from aggregator.supervision.generated import is_ours

_NAMES = 5
"""The number of names that are listed; the others are only counted."""


_READ_ANEW = {"log"}
"""The kinds of belongings that a section without positions reads from the start."""


class Consequences(NamedTuple):
    """The effects of a build beside writing files."""

    lines: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    """The effects that need the user's yes, each with advice on what to do instead."""


class _State(NamedTuple):
    """The state in the Redis of the current build."""

    queues: dict[str, Residue]
    cursors: dict[str, int]
    """`node:section` → number of its cursors."""
    unread: frozenset[str]
    """The names in `queues` that no living worker reads."""


def consequences(config: Config) -> Consequences:
    """Return the effects of building this configuration on the programs and state of the current build.

    Raises ConfigError.
    """
    coming, current = new_build(config), Builds(config.instance).current()
    if current is None:
        return Consequences((), tuple(_most_end(_sections_of_files(config), set(config.programs))))
    return _Comparison(config, current, coming or current.facts).result()


def _sections_of_files(config: Config) -> set[str]:
    """Return the programs whose files an earlier version wrote, which kept no builds."""
    files = config.instance.available.glob("*.conf")
    return {path.stem for path in files if is_ours(path.read_text(encoding="utf-8", errors="replace"))}


def _most_end(before: set[str], now: set[str]) -> Iterator[str]:
    ended = sorted(before - now)
    if 2 * len(ended) > len(before):
        yield f"{len(ended)} of {len(before)} programs end: {_listed(ended)}"


class _Comparison:
    """A comparison of the current build with the coming one."""

    def __init__(self, config: Config, current: Build, coming: BuildFacts) -> None:
        self.config = config
        self.current = current
        self.old, self.new = current.facts, coming
        self.redis = redis_of_build(current, config.root)
        self.state = self._look()
        self.successors = dict(self._successors())
        """Section that ends → section that goes on with its messages and positions."""

    def result(self) -> Consequences:
        moved = [*self._another_state()]
        questions = [*moved, *self._ends(), *self._left(), *self._unread()]
        lines = [*self._renamed(), *self._entries(), *([] if moved else [*self._queues(), *self._orphans()])]
        if not moved:
            questions += self._taken_for_others()
        return Consequences(tuple(lines), tuple(questions))

    def _look(self) -> _State | None:
        """Return the state in Redis; None when Redis does not answer."""
        keys = Keys(self.redis.namespace)
        try:
            with connect(self.redis.url, timeout_s=2.0) as client:
                owners = {f"{self.old.node}:{section}" for section in self.old.programs}
                cursors = {owner: len(cursor_names(client, keys, owner)) for owner in owners}
                queues = {residue.queue: residue for residue in residues(client, keys)}
                served = {facts.queue for facts in roster(client, keys).workers if facts.alive}
                return _State(queues, cursors, frozenset(queues.keys() - served))
        except (*AWAY, *REFUSED):
            return None

    def _another_state(self) -> Iterator[str]:
        """Ask when the configuration names another Redis or namespace than the one that holds the state."""
        if (self.redis.url, self.redis.namespace) == (self.config.redis.url, self.config.redis.namespace):
            return
        there = f"{mask(self.redis.url)} (namespace {self.redis.namespace})"
        advice = (
            "to take it along, stop the workers, `run/aggregator state export FILE`, build, "
            "`run/aggregator state import FILE`, and then `run/supervisorctl update`"
        )
        if self.state is None:
            yield f"what was done so far is known in {there} alone, which does not answer; {advice}"
        elif self.state.queues or any(self.state.cursors.values()):
            held = sum(residue.waiting + residue.dead for residue in self.state.queues.values())
            owners = sum(bool(number) for number in self.state.cursors.values())
            left = f"{counted(held, 'message')}, and the positions of {counted(owners, 'section')}"
            yield f"{left}, stay behind in {there}; {advice}"

    def _ends(self) -> Iterator[str]:
        yield from _most_end(set(self.old.programs) - self.successors.keys(), set(self.new.programs))
        for kind, names in self.old.entries.items():
            ended = sorted(set(names) - set(self.new.entries.get(kind, ())))
            if len(ended) > 1 and 2 * len(ended) > len(names):
                yield f"{len(ended)} of {len(names)} {kind}s end: {_listed(ended)}"

    def _left(self) -> Iterator[str]:
        """Ask when a new section may be meant to go on with an ending section's positions in logs, but would not."""
        fresh = [section for section in self.new.belongings if section not in self.old.programs]
        for section, belongings in self.old.belongings.items():
            number = self.state.cursors.get(f"{self.old.node}:{section}", 0) if self.state else 0
            if not number or section in self.new.programs or section in self.successors:
                continue
            alike = [name for name in fresh if _kinds(self.new.belongings[name]) & _kinds(belongings) & _READ_ANEW]
            if alike:
                yield (
                    f"{section} ends, and {_listed(alike)} would not go on with its {counted(number, 'position')}, "
                    "but read its logs again, as no path is the same: if that is not meant, rename the section in one "
                    "build, and change its paths in the next"
                )

    def _successors(self) -> Iterator[tuple[str, str]]:
        for section, belongings in self.new.belongings.items():
            if section in self.old.programs:
                continue
            for other, theirs in self.old.belongings.items():
                if other not in self.new.programs and set(theirs) & set(belongings):
                    yield other, section

    def _renamed(self) -> Iterator[str]:
        for other, section in self._successors():
            shared = set(self.old.belongings[other]) & set(self.new.belongings[section])
            about = _listed(sorted(name.partition(":")[2] for name in shared))
            number = self.state.cursors.get(f"{self.old.node}:{other}", 0) if self.state else None
            divided = set(self.old.belongings[other]) - shared
            known = "its positions" if number is None or divided else counted(number, "position")
            yield f"{section} is new and works on {about}, as {other} did: takes over {known}"
        for section, belongings in self.new.belongings.items():
            before = self.old.belongings.get(section)
            fresh = sorted(name.partition(":")[2] for name in set(belongings) - set(before or ()))
            givers = [other for other, names in self.old.belongings.items() if self._gives(other, names, section)]
            if before is None:
                givers = [other for other in givers if other in self.new.programs]
            if fresh and (givers or before is not None):
                where = f": goes on where {' and '.join(givers)} left off" if givers else ""
                yield f"{section} works on {_listed(fresh)} from now on{where}"
        if self.old.node != self.new.node:
            yield f"node {self.old.node} is {self.new.node} from now on: takes over its positions and messages"

    def _gives(self, other: str, theirs: tuple[str, ...], section: str) -> bool:
        """True when the section `other` gives up something that `section` works on from now on."""
        left = set(theirs) - set(self.new.belongings.get(other, ()))
        return other != section and not left.isdisjoint(self.new.belongings[section])

    def _entries(self) -> Iterator[str]:
        for kind in self.new.entries:
            before, after = set(self.old.entries.get(kind, ())), set(self.new.entries[kind])
            for word, names in (("end", sorted(before - after)), ("begin", sorted(after - before))):
                if names:
                    what = f"{kind}s {word}" if len(names) > 1 else f"{kind} {word}s"
                    yield f"{len(names)} {what}: {_listed(names)}"

    def _reads(self, facts: BuildFacts) -> dict[str, str]:
        return {section: queue for queue, section in facts.queues.items()}

    def _queues(self) -> Iterator[str]:
        """Say which queues lose their reader, and what happens to the messages in them."""
        after = self._reads(self.new)
        for section, queue in self._reads(self.old).items():
            section = self.successors.get(section, section)
            if section in after and after[section] != queue and queue not in self.new.queues:
                held = self._held(queue)
                verb = "moves" if held == str(Residue(queue, 1, 0)) else "move"
                yield f"{section} reads {after[section]} instead of {queue}: {held} {verb} there"
            elif section not in after and queue not in (*self.new.queues, *(self.state.queues if self.state else ())):
                advice = f"`aggregator state adopt {queue} QUEUE` or `aggregator state drop {queue}`"
                yield f"nobody reads {queue} any more: what comes there before `supervisorctl update` stays; {advice}"

    def _orphans(self) -> Iterator[str]:
        """Say which queues hold messages though neither the current build nor the coming one reads them."""
        known = {*self.old.queues, *self.new.queues}
        for queue in sorted(self.state.unread - known) if self.state else ():
            advice = f"`run/aggregator state adopt {queue} QUEUE` or `run/aggregator state drop {queue}`"
            yield f"nobody reads {queue}: {self._held(queue)}; {advice}"

    def _held(self, queue: str) -> str:
        if self.state is None:
            return "its messages"
        return str(self.state.queues.get(queue, Residue(queue, 0, 0)))

    def _unread(self) -> Iterator[str]:
        """Ask about messages that nobody would read any more."""
        after = self._reads(self.new)
        for queue, section in self.old.queues.items():
            section = self.successors.get(section, section)
            left = self.state.queues.get(queue) if self.state else None
            if left is not None and queue not in self.new.queues and section not in after:
                yield (
                    f"{left} {left.is_or_are} in {queue}, which nobody would read any more: let them be handled "
                    f"first, or later `run/aggregator state adopt {queue} QUEUE` or `run/aggregator state drop {queue}`"
                )

    def _taken_for_others(self) -> Iterator[str]:
        """Ask about messages that would be taken by another section than the one they were meant for."""
        for queue, section in self.new.queues.items():
            meant_for = self.old.queues.get(queue, section)
            left = self.state.queues.get(queue) if self.state else None
            if (
                left is not None
                and self.successors.get(meant_for, meant_for) != section
                and meant_for in self.new.programs
            ):
                theirs = f"{left} {left.is_or_are} in {queue} for {meant_for}"
                yield f"{theirs}, and {section} would take them: let them be handled first"


def _kinds(belongings: tuple[str, ...]) -> set[str]:
    return {name.partition(":")[0] for name in belongings}


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more
