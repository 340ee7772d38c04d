"""The facts that a build records of a configuration beside its text: digests, queues, belongings of sections."""

from __future__ import annotations

import time

from aggregator import __version__
from aggregator.config.builds import BuildFacts, Builds, digest_of
from aggregator.config.configuration import Config
from aggregator.config.installation import code_digest
from aggregator.config.programs import Program
from aggregator.runtime.keys import resolve
from aggregator.supervision.digests import digest_of_program


def new_build(config: Config) -> BuildFacts | None:
    """Return the facts of a new build of this configuration; None when the current build is the same."""
    builds, file = Builds(config.instance), config.file
    if file.is_relative_to(config.root):
        file = file.relative_to(config.root)
    digest = digest_of(__version__, str(file), config.source, config.tables.copies())
    current = builds.current()
    is_same = current is not None and (current.facts.digest, current.facts.code) == (digest, code_digest())
    if is_same and current is not None and current.is_whole():
        return None
    return BuildFacts(
        number=builds.next_number(),
        digest=digest,
        version=__version__,
        code=code_digest(),
        built_at=time.time(),
        file=str(file),
        node=config.node,
        namespace=config.redis.namespace,
        programs={program.section: digest_of_program(config, program) for program in config.programs.values()},
        queues={resolve(queue, config.node): section for queue, section in config.consumers.items()},
        belongings=belongings(config),
        entries=config.tables.live(),
    )


def belongings(config: Config) -> dict[str, tuple[str, ...]]:
    """Return the belongings of each section that has any: the names of the things its cursors are about.

    A stage that was not imported has none: commands that only look do not import the user's own stages.
    """
    found = {program.section: _belongings(config, program) for program in config.programs.values()}
    return {section: names for section, names in found.items() if names}


def _belongings(config: Config, program: Program) -> tuple[str, ...]:
    found = getattr(program.stage_class, "belongings", None)
    return tuple(found(program.settings, config.root)) if found else ()
