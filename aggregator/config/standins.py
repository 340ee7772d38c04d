"""Stand-ins for stages of the user's own, for commands that only look and must not import the stages' code.

`status`, `health` and others must import nothing that the instance's owner wrote, because another user may have started
these commands. `config build` notes what it learnt about such stages; a section that has changed since is judged by its
options.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from aggregator import registry
from aggregator.config.programs import USUAL_TARGETS, Program
from aggregator.config.settings import parse_duration, parse_queue, parse_queues
from aggregator.config.traits import Traits
from aggregator.files.opening import open_followed

NOTES_LIMIT = 16 * 1024**2
_PLACES = ("logfile", "endpoint_url")


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """What a build learnt about one section's stage."""

    texts: str
    """A mark of the section's options."""
    listens: str | None = None
    targets: tuple[tuple[str, str], ...] = ()
    plugins: tuple[str, ...] = ()
    traits: Traits = Traits()
    is_source: bool = False
    timeout: float = 0.0
    stale_after: float = 0.0
    overview: str = ""


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """The file with the notes of a build."""

    written: str = ""
    sections: dict[str, Noted] = {}


def mark_of(texts: Mapping[str, str]) -> str:
    """Return a mark of a section's options, as they stand in the file."""
    return hashlib.sha256(repr(sorted(texts.items())).encode()).hexdigest()[:16]


def note(program: Program, texts: Mapping[str, str]) -> Noted:
    """Return what is known of a section whose stage was imported, or of its stand-in."""
    return Noted(
        texts=mark_of(texts),
        listens=program.listens,
        targets=program.targets,
        plugins=program.plugins,
        traits=program.traits,
        is_source=program.is_source,
        timeout=float(getattr(program.settings, "timeout", 0.0)),
        stale_after=float(getattr(program.settings, "stale_after", 0.0)),
        overview=getattr(program.stage_class, "overview", ""),
    )


def read_notes(file: Path) -> Mapping[str, Noted]:
    """Return what the last build noted, by section; nothing when the file is missing or damaged."""
    try:
        with open(open_followed(file, os.O_RDONLY), "rb") as stream:
            return msgspec.json.decode(stream.read(NOTES_LIMIT), type=Notes).sections
    except (OSError, msgspec.DecodeError):
        return {}


def write_notes(written: str, sections: Mapping[str, Noted]) -> str:
    """Return the text of the file; `written` says who wrote it."""
    text = msgspec.json.encode(Notes(written=written, sections=dict(sections)))
    return msgspec.json.format(text, indent=1).decode() + "\n"


def guess(texts: Mapping[str, str]) -> Noted:
    """Return what the options of a section with the usual names say; wrong options are ignored."""
    targets = []
    for option in USUAL_TARGETS:
        try:
            targets += [(option, queue) for queue in parse_queues(texts[option])]
        except (KeyError, ValueError):
            continue
    try:
        listens = parse_queue(texts["listento"])
    except (KeyError, ValueError):
        listens = None
    try:
        stale_after = parse_duration(texts.get("stale_after", "0"))
    except ValueError:
        stale_after = 0.0
    return Noted(
        texts="", listens=listens, targets=tuple(targets), is_source="listento" not in texts, stale_after=stale_after
    )


def stage_of(noted: Noted) -> type[Any]:
    """Return a class that stands for the stage wherever a pipeline is inspected; it handles nothing."""
    # files that the stage reads and writes are not checked: the options that name them are not known
    tables = tuple(kind for kind in noted.traits.tables if kind in registry.TABLES)
    entries = tuple(entry for entry in noted.traits.entries if entry[0] in registry.TABLES)
    traits = noted.traits._replace(writes=(), reads=(), tables=tables, entries=entries)
    facts: dict[str, Any] = {"traits": traits, "overview": noted.overview}
    if noted.is_source:
        facts["poll"] = None  # only sources have this attribute
    return type("StandIn", (), facts)


def settings_of(noted: Noted, texts: Mapping[str, str]) -> SimpleNamespace:
    """Return the settings that are known."""
    places = {option: texts[option] for option in _PLACES if option in texts}
    return SimpleNamespace(timeout=noted.timeout, stale_after=noted.stale_after, **places)
