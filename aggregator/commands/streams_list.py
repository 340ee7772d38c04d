"""`streams list`: show how every stream is doing. `streams show`: show all about one."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from aggregator.commands import screen
from aggregator.commands.invocation import Failed, Invocation, add_json
from aggregator.commands.screen import Column, Painted
from aggregator.config.configuration import Config
from aggregator.config.hints import meant
from aggregator.errors import EXIT_OK, ConfigError
from aggregator.streams.managing.options import PREFIX
from aggregator.streams.query.recorded import Files, directories, read_files
from aggregator.streams.query.streamfacts import StreamFacts, facts_of, streams_of
from aggregator.streams.times import iso

_WIDTH = 70
_COLUMNS = (
    Column("NAME"),
    Column("TYPE"),
    Column("ENDPOINT"),
    Column("STATE"),
    Column("LAST EVENT", True),
    Column("EVENTS/s", True),
    Column("GAPS IN 24 h", True),
    Column("CONNECTION"),
)
_COLOURS = {"running": "green", "active": "yellow", "stopped": "red", "not built": "yellow"}


def add_list(parser: argparse.ArgumentParser) -> None:
    """Declare `streams list`."""
    add_json(parser)
    parser.set_defaults(run=_list)


def add_show(parser: argparse.ArgumentParser) -> None:
    """Declare `streams show NAME`."""
    parser.add_argument("name", metavar="NAME", help="the stream")
    add_json(parser)
    parser.set_defaults(run=_show)


def _config(invocation: Invocation) -> Config:
    """Return the configuration of the file, which has drafts too; while it has faults, what was built of it."""
    try:
        return invocation.config(reading=True)
    except ConfigError:
        config = invocation.running()
        print("warning: loglines.cfg has faults (`config check` lists them); shown is what runs", file=sys.stderr)
        return config


def _list(invocation: Invocation, args: argparse.Namespace) -> int:
    config = _config(invocation)
    found = facts_of(config, streams_of(config))
    if args.json:
        screen.print_json({"streams": [_as_json(facts) for facts in found]})
    elif found:
        print(screen.table(_COLUMNS, [_row(facts) for facts in found], colours=screen.colours_wanted(sys.stdout)))
    else:
        invocation.say("no streams; `streams add` makes one")
    return EXIT_OK


def _show(invocation: Invocation, args: argparse.Namespace) -> int:
    config = _config(invocation)
    name, known = args.name.removeprefix(PREFIX), streams_of(config)
    if name not in known:
        there = f"; there are: {', '.join(known) or 'none'}"
        raise Failed(f"no stream {name!r}{meant(name, known) or there}")
    facts, files = facts_of(config, [name])[0], read_files(directories(config), name)
    if args.json:
        screen.print_json({**_as_json(facts), "settings": facts.settings, "filters": facts.filters, **_of(files)})
        return EXIT_OK
    for word, text in _lines(facts, files):
        print(f"{word:12}  {text}")
    return EXIT_OK


def _row(facts: StreamFacts) -> list[str | Painted]:
    return [
        facts.name,
        screen.one_line(facts.type, 20) or screen.NOTHING,
        screen.one_line(facts.endpoint, 30) or screen.NOTHING,
        Painted(facts.state, _COLOURS.get(facts.state, "grey")),
        _age(facts.last_event_ms),
        screen.NOTHING if facts.per_second is None else screen.rate(facts.per_second),
        _gaps(facts),
        screen.one_line(_remark(facts), _WIDTH),
    ]


def _remark(facts: StreamFacts) -> str:
    if facts.faults:
        return f"incomplete: {len(facts.faults)} thing{'s' * (len(facts.faults) > 1)} to mend, see `config check`"
    fallen = f"below usual: {facts.fallen}" if facts.fallen else ""
    return "; ".join(part for part in (fallen, facts.connection) if part)


def _gaps(facts: StreamFacts) -> str:
    gaps = facts.missing.gaps
    return f"{len(gaps):,} ({screen.age(facts.missing.missing_ms / 1000)})" if gaps else "0"


def _age(moment_ms: int | None) -> str:
    return screen.NOTHING if moment_ms is None else screen.age(max(0.0, time.time() - moment_ms / 1000))


def _lines(facts: StreamFacts, files: Files) -> list[tuple[str, str]]:
    """Return the lines of `show`: a word and what it says."""
    lines = [("stream", facts.name), ("state", facts.state)]
    lines += [("connection", screen.printable(facts.connection))] if facts.connection else []
    lines += [("last event", iso(facts.last_event_ms))] if facts.last_event_ms is not None else []
    lines += [("events/s", screen.rate(facts.per_second))] if facts.per_second is not None else []
    lines += [("below usual", screen.printable(facts.fallen))] if facts.fallen else []
    lines += [("gaps in 24 h", _gaps(facts))]
    lines += [("setting", f"{name} = {screen.one_line(text, 200)}") for name, text in facts.settings.items()]
    lines += [("filter", f"{name} = {screen.one_line(text, 2000)}") for name, text in facts.filters.items()]
    lines += [("to mend", screen.printable(fault)) for fault in facts.faults]
    lines.append(("files", f"{files.number:,}, {files.size_bytes / 1e6:,.1f} MB"))
    lines += [("newest", str(files.newest))] if files.newest is not None else []
    return lines


def _as_json(facts: StreamFacts) -> dict[str, Any]:
    return {
        "name": facts.name,
        "type": facts.type or None,
        "endpoint": facts.endpoint or None,
        "state": facts.state,
        "connection": facts.connection or None,
        "last_event_ms": facts.last_event_ms,
        "events_per_second": facts.per_second,
        "below_usual": facts.fallen or None,
        "gaps_24h": len(facts.missing.gaps),
        "missing_24h_s": facts.missing.missing_ms / 1000,
        "credential": facts.texts.get("credential"),
        "faults": list(facts.faults),
    }


def _of(files: Files) -> dict[str, Any]:
    return {
        "files": files.number,
        "size_bytes": files.size_bytes,
        "first_file_ms": files.first_ms,
        "newest_file": str(files.newest) if files.newest is not None else None,
    }
