"""A configuration without faults, as all other code sees it. `loading.py` makes it."""

from __future__ import annotations

from collections.abc import Mapping
from configparser import ConfigParser, RawConfigParser
from pathlib import Path

import msgspec

from aggregator.config import graph
from aggregator.config.builds import Build
from aggregator.config.ini import Texts
from aggregator.config.instance import Instance
from aggregator.config.programs import OWN_REDIS, Program, is_own_redis
from aggregator.config.sections import AggregatorSettings, RedisSettings, RulesSettings, SupervisorSettings
from aggregator.config.tables import Table, Tables


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration without faults."""

    root: Path
    file: Path
    node: str
    redis: RedisSettings
    supervisor: SupervisorSettings
    aggregator: AggregatorSettings
    rules: RulesSettings
    programs: dict[str, Program]
    """By section, in the order of the file; only the section asked for when `load` was told `only`."""
    warnings: tuple[str, ...]
    doubts: tuple[str, ...]
    """Why nothing of the configuration may be executed. Commands that only look show these doubts; for other commands
    they are faults."""
    drafts: Mapping[str, tuple[str, ...]]
    """The faults of each section that is incomplete and says `enabled = no`: it makes no program. They are among the
    warnings too."""
    raw: Texts
    """The options of every section as they stand in the file."""
    texts: Texts
    """The options of every section with ``%(ENV_NAME)s`` and ``%(here)s`` filled in."""
    limits: Mapping[str, int]
    tables: Tables
    source: bytes
    """The file, byte for byte."""
    build: Build | None = None
    """The build that the configuration was read from; None for the file itself, as it is being edited."""

    def table(self, kind: str) -> Table:
        """Return the entries of a table as they are now, and the faults of other entries."""
        return self.tables.table(kind)

    @property
    def shares_redis(self) -> bool:
        """False when Redis is the instance's own."""
        return not is_own_redis(OWN_REDIS, self.texts.get(OWN_REDIS, {"command": ""}))

    @property
    def instance(self) -> Instance:
        """The paths of this instance."""
        return Instance(self.root)

    @property
    def consumers(self) -> dict[str, str]:
        """The section that reads each queue."""
        return graph.consumers(self.programs)

    @property
    def producers(self) -> dict[str, tuple[str, ...]]:
        """The sections that send to each queue."""
        return graph.producers(self.programs)

    def depth_limit(self, queue: str) -> int | None:
        """Return how many messages may wait in a queue; None when nobody here reads it."""
        return self.limits.get(local_name(queue, self.node))

    def depth_limits(self, program: Program) -> dict[str, int]:
        """Return the depth limit of each queue that a program sends to and that has one."""
        return {queue: limit for queue in program.feeds if (limit := self.depth_limit(queue)) is not None}

    def parser(self) -> RawConfigParser:
        """Return the whole file for a plugin, with every value filled in."""
        return parser_of(self.texts)


def parser_of(texts: Texts) -> RawConfigParser:
    """Return all sections in the form that plugins of PIRUS2 were given; the values are filled in already."""
    parser = ConfigParser(default_section="", interpolation=None)
    parser.read_dict(texts)
    return parser


def local_name(queue: str, node: str) -> str:
    """Return the same form of a queue's name, whether it is written with @node or with this node's name."""
    return f"{queue.removesuffix('@node')}@{node}" if queue.endswith("@node") else queue
