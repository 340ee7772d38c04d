"""Which sections with `stage = archive` store bundles of feeds, and which store files of streams."""

from __future__ import annotations

from aggregator.config.configuration import Config
from aggregator.config.programs import Program


def archives(config: Config, *, of_streams: bool) -> list[Program]:
    """Return the sections that archive feeds, or streams; all when none is known to.

    A section that `record` alone feeds is one of streams; one that others feed too is both.
    """
    programs = config.programs.values()
    found = [program for program in programs if program.stage_name == "archive"]
    fitting = []
    for archive in found:
        feeders = {program.stage_name for program in programs if archive.listens in program.feeds}
        if "record" in feeders if of_streams else feeders != {"record"}:
            fitting.append(archive)
    return fitting or found
