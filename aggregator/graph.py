"""The pipeline as a graph: sections are its nodes, queues its edges. What is wrong with it, and who starts first."""

from __future__ import annotations

from collections.abc import Mapping

from aggregator.ini import Document
from aggregator.programs import Program
from aggregator.settings import meant

REDIS_PRIORITY = 1
PROCESS_PRIORITY = 10
SINK_PRIORITY = 100
SOURCE_PRIORITY = 900

Programs = Mapping[str, Program]


def consumers(programs: Programs) -> dict[str, str]:
    """Return for each queue the section that reads it (the first one, should there be two)."""
    found: dict[str, str] = {}
    for program in programs.values():
        if program.listens is not None:
            found.setdefault(program.listens, program.section)
    return found


def producers(programs: Programs) -> dict[str, tuple[str, ...]]:
    """Return for each queue the sections that send to it."""
    found: dict[str, tuple[str, ...]] = {}
    for program in programs.values():
        for queue in program.feeds:
            found[queue] = (*found.get(queue, ()), program.section)
    return found


def check(programs: Programs, document: Document) -> None:
    """Look for queues with two readers, with none, with nobody who feeds them, and for loops."""
    readers, feeders = consumers(programs), producers(programs)
    for program in programs.values():
        _check_reading(program, document, readers, feeders)
        for option, queue in program.targets:
            if queue == program.listens:
                document.fault(program.section, option, f"sends to the queue that it reads itself ({queue})")
            elif queue not in readers:
                hint = meant(queue, [name for name in readers if name not in feeders])
                document.warn(program.section, option, f"no section reads the queue {queue}{hint}")
    for loop in _loops(programs, readers):
        document.warn(loop[0], None, f"messages may go round for ever: {' -> '.join((*loop, loop[0]))}")


def _check_reading(
    program: Program, document: Document, readers: Mapping[str, str], feeders: Mapping[str, tuple[str, ...]]
) -> None:
    queue = program.listens
    if queue is None:
        return
    if readers[queue] != program.section:
        first = f"[{readers[queue]}] in line {document.line_of(readers[queue], 'listento')} reads the queue {queue} too"
        advice = "give each its own queue and feed them by a broker's fanout, or raise numprocs"
        document.fault(program.section, "listento", f"{first}; {advice}")
    elif queue not in feeders and not program.circulates:
        hint = meant(queue, [name for name in feeders if name not in readers])
        document.warn(program.section, "listento", f"no section feeds the queue {queue}{hint}")


def priorities(programs: Programs) -> dict[str, int]:
    """Return supervisord's priorities: Redis, other processes, then readers before those who feed them."""
    steps = _distances(programs)
    # However long the pipeline, everything stands between the sinks and the sources.
    step = min(100, (SOURCE_PRIORITY - SINK_PRIORITY - 100) // max(1, *steps.values(), 1))
    found: dict[str, int] = {}
    for program in programs.values():
        if program.program.priority is not None:
            priority = program.program.priority
        elif program.kind == "redis":
            priority = REDIS_PRIORITY
        elif program.section.startswith("process_"):
            priority = PROCESS_PRIORITY
        elif program.is_source:
            priority = SOURCE_PRIORITY
        else:
            priority = SINK_PRIORITY + step * steps[program.section]
        found[program.section] = priority
    return found


def _distances(programs: Programs) -> dict[str, int]:
    """Return for each section the most steps a message may take from it to a sink; loops count once."""
    readers = consumers(programs)
    found: dict[str, int] = {}

    def distance(section: str, path: tuple[str, ...]) -> int:
        if section not in found:
            onward = [readers[queue] for queue in programs[section].feeds if queue in readers]
            ahead = [distance(name, (*path, section)) for name in onward if name not in (*path, section)]
            found[section] = 1 + max(ahead) if ahead else 0
        return found[section]

    for section in programs:
        distance(section, ())
    return found


def _loops(programs: Programs, readers: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return the loops of two sections or more that a walk along the queues runs into, each from its first section."""
    order = {section: number for number, section in enumerate(programs)}
    loops: dict[tuple[str, ...], None] = {}
    done: set[str] = set()

    def walk(path: tuple[str, ...]) -> None:
        for name in dict.fromkeys(readers[queue] for queue in programs[path[-1]].feeds if queue in readers):
            if name in path and name != path[-1]:
                loop = path[path.index(name) :]
                first = loop.index(min(loop, key=order.__getitem__))
                loops[loop[first:] + loop[:first]] = None
            elif name not in done and name not in path:
                walk((*path, name))
        # what leads on from here is known: without this, a graph of many branches has no end
        done.add(path[-1])

    for section in programs:
        if section not in done:
            walk((section,))
    return list(loops)
