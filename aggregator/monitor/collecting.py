"""Findings about what is configured and collects nothing: no fault anywhere, and all the same nothing comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from aggregator.config import graph
from aggregator.config.loading import Config
from aggregator.config.programs import Program
from aggregator.monitor.finding import Finding

_START = "`run/aggregator enable {}` starts it; build first where it is new, or where enabled = no was taken out."


def idle_parts(
    config: Config, feeds: int, enabled: Callable[[str], bool], comes_from_outside: Callable[[str], bool]
) -> Iterator[Finding]:
    """Find what collects nothing.

    `feeds` is how many are configured, `enabled` tells of a section, `comes_from_outside` of a queue that no section
    here feeds: whether other programs or nodes push to it.
    """
    found = list(_feeds(config, feeds, enabled))
    yield from found
    if not found and not any(_collects(program, config, comes_from_outside) for program in _only(config, enabled)):
        sources = [p.section for p in config.programs.values() if p.is_source or p.traits.feeds_itself]
        text = "nothing is collected: no section brings messages in"
        do = "Add a section that does, with stage = tail or with stage = download and feeds, to loglines.cfg."
        if sources:
            text = f"nothing is collected: {_are(sources, 'not enabled')}"
            do = _START.format(sources[0])
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


def _feeds(config: Config, feeds: int, enabled: Callable[[str], bool]) -> Iterator[Finding]:
    downloads = [p.section for p in config.programs.values() if p.stage_name == "download"]
    running = [section for section in downloads if enabled(section)]
    count = "1 feed is" if feeds == 1 else f"{feeds:,} feeds are"
    if feeds and not downloads:
        text = f"{count} configured, and no section downloads them"
        do = "Add a section [worker_download] with stage = download to loglines.cfg, or take the feeds out."
        yield Finding("feeds_not_downloaded", "error", "feeds", text, None, do)
    elif feeds and not running:
        text = f"{count} configured, and {_are(downloads, 'not enabled')}"
        do = _START.format(downloads[0])
        yield Finding("feeds_not_downloaded", "error", "feeds", text, None, do)
    if not feeds:
        for section in running:
            do = "Add a section [feed_NAME], or feeds_file in [aggregator], to loglines.cfg; or disable it."
            yield Finding("download_without_feeds", "error", section, "downloads nothing: no feeds", None, do)


def _collects(program: Program, config: Config, comes_from_outside: Callable[[str], bool]) -> bool:
    """True for a section that brings messages in, or whose messages others push.

    A program that is not ours may collect without a queue; but `process_` is the name of those that only help.
    """
    if program.is_source or program.traits.feeds_itself:
        return True
    if program.listens is None:
        return program.kind == "command" and not program.section.startswith("process_")
    return program.listens not in graph.producers(config.programs) and comes_from_outside(program.listens)


def _only(config: Config, enabled: Callable[[str], bool]) -> list[Program]:
    return [program for program in config.programs.values() if enabled(program.section)]


def _are(sections: list[str], what: str) -> str:
    return f"{' and '.join(sections)} {'is' if len(sections) == 1 else 'are'} {what}"
