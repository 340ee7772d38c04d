"""A supervised program, as one section of loglines.cfg describes it. `programreading.py` reads the section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from aggregator import registry
from aggregator.config import messagekinds, pirus2
from aggregator.config.sections import ProgramSettings
from aggregator.config.settings import parse_flag
from aggregator.config.traits import Traits

PREFIXES = ("process_", "worker_", "logger_", "stream_")
STAGES = {"stream_": "capture"}
"""The stage of a section that names none, by the beginning of the section's name."""
DRAFTS = "stream_"
"""The beginning of the names of sections that may be incomplete while they say `enabled = no`."""
OWN_REDIS = "process_redis"
"""The section that supervises a Redis of our own when it has no command."""

USUAL_TARGETS = ("pushto", "fanout", "success_queue", "other_queue")
"""The options that name target queues in a section whose program is not ours, or is not imported."""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """One supervised program: a stage, any other command, or our own Redis."""

    section: str
    kind: Literal["stage", "command", "redis"]
    program: ProgramSettings
    stage_name: str | None = None
    stage_class: type[Any] | None = None
    settings: Any = None
    """The stage's settings; None when there is no stage."""
    listens: str | None = None
    targets: tuple[tuple[str, str], ...] = ()
    """(option, queue) for each queue that the program sends to."""
    plugins: tuple[str, ...] = ()
    """The last names of the modules that the program loads: sections with these names belong to the modules."""

    @property
    def is_own(self) -> bool:
        """True when the stage is named by its module, and so may be the user's own."""
        return self.kind == "stage" and ":" in (self.stage_name or "")

    @property
    def numprocs(self) -> int:
        """How many processes the program runs."""
        return self.program.numprocs

    @property
    def feeds(self) -> tuple[str, ...]:
        """The queues that the program sends to, each once."""
        return tuple(dict.fromkeys(queue for _, queue in self.targets))

    @property
    def traits(self) -> Traits:
        """The traits of the program's stage."""
        return self.stage_class.traits if self.stage_class is not None else Traits()

    @property
    def accepts(self) -> tuple[type[msgspec.Struct], ...]:
        """The messages that the program's stage takes; none when it takes any, or nothing is known."""
        return messagekinds.accepted(self.stage_class)

    def emits(self, option: str) -> tuple[type[msgspec.Struct], ...]:
        """Return the messages that go to the queues of an option; none when nothing is known."""
        return messagekinds.emitted(self.stage_class, option)

    def sends_on(self, option: str) -> bool:
        """True when the messages that the program reads go unchanged to the queues of an option."""
        return messagekinds.sends_on(self.stage_class, option)

    @property
    def is_source(self) -> bool:
        """True when the program brings messages in."""
        if self.stage_class is not None:
            return registry.is_source(self.stage_class)
        return self.listens is None and bool(self.targets)


def is_own_redis(section: str, texts: Mapping[str, str]) -> bool:
    """True for a section that supervises a Redis of our own."""
    return section == OWN_REDIS and "command" not in texts


def is_disabled(texts: Mapping[str, str]) -> bool:
    """True for a section that says `enabled = no`."""
    try:
        return not parse_flag(texts.get("enabled", "yes"))
    except ValueError:
        return False


def stage_name(section: str, texts: Mapping[str, str]) -> str | None:
    """Return the name of a section's stage, or None when it runs a command."""
    if "stage" not in texts and "command" not in texts:
        return next((stage for prefix, stage in STAGES.items() if section.startswith(prefix)), None)
    return texts.get("stage") or pirus2.stage_of(texts.get("command", ""))
