"""Findings about parts of a configuration that collect nothing although no fault shows anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from aggregator.config import graph
from aggregator.config.configuration import Config
from aggregator.config.programs import Program
from aggregator.monitor.finding import Finding
from aggregator.monitor.overviews import Overview

START = "`run/aggregator enable {}` starts it; build first where it is new, or where enabled = no was taken out."
"""What to do about a section that is not enabled."""


def idle_parts(
    config: Config,
    overviews: Iterable[Overview],
    enabled: Callable[[str], bool],
    comes_from_outside: Callable[[str], bool],
) -> Iterator[Finding]:
    """Find the configured parts that collect nothing.

    `enabled` tells whether a section is enabled. `comes_from_outside` tells whether other programs or nodes push to a
    queue that no section here feeds.
    """
    found = [finding for overview in overviews for finding in overview.idle(config, enabled)]
    yield from found
    if not found and not any(_collects(program, config, comes_from_outside) for program in _only(config, enabled)):
        sources = [p.section for p in config.programs.values() if p.is_source or p.traits.feeds_itself]
        text = "nothing is collected: no section brings messages in"
        do = "Add a section that does: with stage = tail, with stage = download and feeds, or a stream (`streams add`)."
        if sources:
            text = f"nothing is collected: {are(sources, 'not enabled')}"
            do = START.format(sources[0])
        yield Finding("collects_nothing", "error", "instance", text, None, do)


def unread_queues(config: Config, enabled: Callable[[str], bool]) -> Iterator[Finding]:
    """Find queues that sections send to and that no section here reads."""
    readers = graph.consumers(config.programs)
    for program in _only(config, enabled):
        for queue in program.feeds:
            if queue not in readers:
                text = f"{program.section} sends to it, and no section here reads it: what comes of it stays there"
                do = f"Add a section with listento = {queue}, or see that another program or node reads it."
                yield Finding("queue_unread", "warning", queue, text, None, do)


def _collects(program: Program, config: Config, comes_from_outside: Callable[[str], bool]) -> bool:
    """True for a section that brings messages in, or whose messages other programs push.

    A program that is not ours may collect without a queue, unless its name begins with `process_`: such programs only
    help.
    """
    if program.is_source or program.traits.feeds_itself:
        return True
    if program.listens is None:
        return program.kind == "command" and not program.section.startswith("process_")
    return program.listens not in graph.producers(config.programs) and comes_from_outside(program.listens)


def _only(config: Config, enabled: Callable[[str], bool]) -> list[Program]:
    return [program for program in config.programs.values() if enabled(program.section)]


def are(sections: list[str], what: str) -> str:
    """Return a sentence about sections: `a and b are disabled`."""
    return f"{' and '.join(sections)} {'is' if len(sections) == 1 else 'are'} {what}"
