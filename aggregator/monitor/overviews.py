"""Overviews: what `status`, `health` and a page show of the things that stages work on, such as feeds.

A stage declares its overview by name (`Stage.overview`), and so does a table of sections (`TableReader.overview`).
Several stages may declare the same overview. Workers never import an overview. Commands that only look import no
overview from the instance's own folder, because that is the code of the instance's owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from aggregator import registry
from aggregator.config.configuration import Config
from aggregator.config.programs import Program
from aggregator.config.tables import reader_of
from aggregator.monitor.finding import Finding
from aggregator.runtime.keys import Keys


class Line(NamedTuple):
    """One line of `status`."""

    text: str
    wrong: bool = False


class Overview(Protocol):
    """The view of one sort of thing. A row holds whatever the overview knows of one thing."""

    name: str
    """The word for the things, which is also the key of their part of `status --json`."""

    def amount(self, config: Config) -> str:
        """Return how many there are, in words: `12 feeds`. Raises ConfigError."""

    def look(self, config: Config, client: Any, keys: Keys, now: float) -> Sequence[Any]:
        """Return a row for each configured thing, made from the data in Redis; `now` is in Unix seconds."""

    def lines(self, rows: Sequence[Any]) -> Iterator[Line]:
        """Yield the lines of `status`; called with at least one row."""

    def as_json(self, row: Any) -> Mapping[str, Any]:
        """Return everything about one thing as data for JSON."""

    def findings(self, config: Config, rows: Sequence[Any], now: float) -> Iterator[Finding]:
        """Yield the faults of the things that are worked on."""

    def idle(self, config: Config, enabled: Callable[[str], bool]) -> Iterator[Finding]:
        """Yield the configured things that collect nothing; `enabled` tells whether a section is enabled."""


class View(NamedTuple):
    """An overview, and what it shows at one moment."""

    overview: Overview
    rows: Sequence[Any] = ()
    """Empty when Redis is away."""


def overview_of(config: Config, program: Program) -> Overview | None:
    """Return the overview that a program's stage declares; None when it declares none or may not be imported."""
    return _load(config, getattr(program.stage_class, "overview", ""))


def overviews_of(config: Config) -> list[Overview]:
    """Return the overviews of all tables and of the stages of a configuration, each once."""
    specs = [reader_of(kind).overview for kind in registry.TABLES]
    specs += [getattr(program.stage_class, "overview", "") for program in config.programs.values()]
    found = (_load(config, spec) for spec in dict.fromkeys(specs))
    return [overview for overview in found if overview is not None]


def _load(config: Config, spec: str) -> Overview | None:
    if not spec or registry.lies_in(spec, config.root):
        return None
    try:
        overview: Overview = registry.load_object(spec)
    except ValueError:
        # a package is gone since the build: the stage reports the packages that it needs itself when it starts
        return None
    return overview
