"""The pipeline as a graph: sections are its nodes, queues its edges. Find its faults and the order of starting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from aggregator.config import messagekinds
from aggregator.config.hints import meant
from aggregator.config.ini import Document
from aggregator.config.messagekinds import Struct
from aggregator.config.programs import Program

REDIS_PRIORITY = 1
PROCESS_PRIORITY = 10
SINK_PRIORITY = 100
SOURCE_PRIORITY = 900

Programs = Mapping[str, Program]


def consumers(programs: Programs) -> dict[str, str]:
    """Return for each queue the section that reads it (the first one if there are two)."""
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
    """Look for loops, and for queues with two readers, without a reader, or without a section that feeds them."""
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


def check_messages(programs: Programs, document: Document) -> None:
    """Refuse a section that sends messages which the section that reads them cannot take.

    Only stages that declare what they accept and emit can be checked.
    """
    readers, carried = consumers(programs), _carried(programs)
    for program in programs.values():
        for option, queue in program.targets:
            reader = programs.get(readers.get(queue, ""))
            accepts = reader.accepts if reader is not None else ()
            wrong = {kind: why for kind in _emitted(program, option, carried) if (why := _misfit(kind, accepts))}
            if wrong and reader is not None:
                place = f"[{reader.section}] in line {document.line_of(reader.section, 'listento')}"
                found, wanted = _words(wrong), _words(accepts)
                if len(wrong) == len(accepts) == 1 and not accepts[0].__struct_config__.tag:
                    wanted += f" only, and {next(iter(wrong.values()))}"
                else:
                    wanted += " only"
                words = f"sends {found} messages to {queue}, and {place} reads that queue and takes {wanted}"
                document.fault(program.section, option, f"{words}; were two queues swapped?")


def _misfit(kind: Struct, accepts: Sequence[Struct]) -> str | None:
    """Return why none of these structs can be read from a message; None when one can, or any message is taken."""
    reasons = [messagekinds.misfit(kind, each) for each in accepts]
    return reasons[0] if reasons and None not in reasons else None


def _carried(programs: Programs) -> dict[str, dict[Struct, None]]:
    """Return the known kinds of messages that each queue carries, including messages that are sent on unchanged."""
    carried: dict[str, dict[Struct, None]] = {}
    changed = True
    while changed:
        changed = False
        for program in programs.values():
            for option, queue in program.targets:
                known = carried.setdefault(queue, {})
                new = [kind for kind in _emitted(program, option, carried) if kind not in known]
                known |= dict.fromkeys(new)
                changed = changed or bool(new)
    return carried


def _emitted(program: Program, option: str, carried: Mapping[str, Iterable[Struct]]) -> tuple[Struct, ...]:
    """Return the kinds of messages that a section sends by one option."""
    if program.sends_on(option):
        return tuple(carried.get(program.listens or "", ()))
    return program.emits(option)


def _words(kinds: Iterable[Struct]) -> str:
    return " and ".join(f"`{messagekinds.name_of(kind)}`" for kind in kinds)


def check_shared(programs: Programs, document: Document) -> None:
    """Look for queues that other machines may read, although their messages name files of this machine."""
    for program in programs.values():
        if program.traits.names_files:
            for option, queue in program.targets:
                if not queue.endswith("@node"):
                    words = f"messages in {queue} name files of this machine, and any on this Redis would take them"
                    document.warn(program.section, option, f"{words}; call it {queue}@node, also where it is read")


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
    elif queue not in feeders and not program.traits.feeds_itself:
        hint = meant(queue, [name for name in feeders if name not in readers])
        document.warn(program.section, "listento", f"no section feeds the queue {queue}{hint}")


def priorities(programs: Programs) -> dict[str, int]:
    """Return supervisord's priorities: Redis, other processes, then readers before the sections that feed them."""
    steps = _distances(programs)
    # However long the pipeline is, every other section stands between the sinks and the sources.
    step = min(100, (SOURCE_PRIORITY - SINK_PRIORITY - 100) // max([1, *steps.values()]))
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
    """Return for each section the most steps that a message may take from it to a sink; loops count once."""
    onward = _onward(programs, consumers(programs))
    found: dict[str, int] = {}
    for path, back in _walk(onward):
        if back is None:
            section = next(reversed(path))
            found[section] = max((1 + found[name] for name in onward[section] if name not in path), default=0)
    return found


def _loops(programs: Programs, readers: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return the loops of two sections or more that a walk along the queues finds, each from its first section on."""
    order = {section: number for number, section in enumerate(programs)}
    loops: dict[tuple[str, ...], None] = {}
    for path, back in _walk(_onward(programs, readers)):
        if back is not None and back != next(reversed(path)):
            sections = tuple(path)
            loop = sections[sections.index(back) :]
            first = loop.index(min(loop, key=order.__getitem__))
            loops[loop[first:] + loop[:first]] = None
    return list(loops)


def ahead(programs: Programs, section: str) -> set[str]:
    """Return the sections that a message of this section may reach."""
    onward = _onward(programs, consumers(programs))
    found: set[str] = set()
    waiting = [section]
    while waiting:
        names = set(onward[waiting.pop()]) - found
        found |= names
        waiting += names
    return found


def _onward(programs: Programs, readers: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return for each section the sections that read what it sends."""
    return {
        program.section: tuple(dict.fromkeys(readers[queue] for queue in program.feeds if queue in readers))
        for program in programs.values()
    }


def _walk(onward: Mapping[str, Iterable[str]]) -> Iterator[tuple[dict[str, Iterator[str]], str | None]]:
    """Go through a graph, depth first, each section once.

    Yields (path, section) when the path's end leads back to a section on the path, and (path, None) when everything
    ahead of the path's end was seen. A path is a dict for its order. It is no recursion, because it may have more than
    1,000 sections.
    """
    done: set[str] = set()
    for start in onward:
        path: dict[str, Iterator[str]] = {} if start in done else {start: iter(onward[start])}
        while path:
            section = next(reversed(path))
            name = next(path[section], None)
            if name is None:
                yield path, None
                # everything ahead of this section is known: without this note, the walk of a graph with many branches
                # has no end
                done.add(section)
                del path[section]
            elif name in path:
                yield path, name
            elif name not in done:
                path[name] = iter(onward[name])
