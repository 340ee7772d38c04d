"""The reference of all options, made from their declarations, so that the page cannot be wrong."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

from aggregator import registry
from aggregator.config.parsing import options_of, write_number
from aggregator.config.sections import CORE, ProgramSettings
from aggregator.config.settings import Option, Settings
from aggregator.config.tables import reader_of
from aggregator.runtime.contract import ConsumerSettings, SourceSettings

_BLOCK = re.compile(r"^(In|Out|Effect|Errors|Source): ")


class Entry(NamedTuple):
    """One option, in words."""

    name: str
    allowed: str
    default: str
    """The value when the option is left out; empty when the option is required, `none` when it has no default."""
    doc: str


class Chapter(NamedTuple):
    """A section of loglines.cfg, or a stage, and its options."""

    title: str
    text: str
    entries: tuple[Entry, ...]


_PROGRAMS = """[worker_*], [logger_*], [stream_*] and [process_*]: the options of every supervised program, whatever it
does. A worker_ or logger_ section has a stage, or a command of its own; a stream_ section has the stage capture; a
process_ section has a command, but for [process_redis], which without one runs the instance's own Redis."""
_STAGE_OR_COMMAND = (
    Entry("stage", "a name below, or MODULE:CLASS", "none", "the stage that the workers of this section run"),
    Entry(
        "command",
        "a program and its arguments",
        "none",
        "any other program; in worker_ and logger_ sections it gets the process number and the section's name as its "
        "last two arguments",
    ),
)


def chapters() -> list[Chapter]:
    """Return all chapters, in the order of the page."""
    found = [Chapter(f"[{name}]", _sentence(settings), tuple(_entries(settings))) for name, settings in CORE.items()]
    found += [_table(kind) for kind in registry.TABLES]
    found.append(Chapter("Every program", _PROGRAMS, (*_STAGE_OR_COMMAND, *_entries(ProgramSettings))))
    found.append(Chapter("Every stage that reads a queue", "", tuple(_entries(ConsumerSettings))))
    found.append(Chapter("Every stage that brings messages in", "", tuple(_entries(SourceSettings))))
    for name in registry.stage_names():
        stage: Any = registry.load_stage(name, None)
        shared = SourceSettings if registry.is_source(stage) else ConsumerSettings
        known = {option.name: option for option in options_of(shared)}
        own = [option for option in options_of(stage.Settings) if known.get(option.name) != option]
        plugin = [Entry(name, "", "none", doc) for name, doc in stage.plugin_options({}).items()]
        text = inspect.getdoc(stage) or ""
        found.append(Chapter(f"stage = {name}", text, (*map(_entry, own), *plugin)))
    return found


def _table(kind: str) -> Chapter:
    """Return the chapter of the sections of one table."""
    reader = reader_of(kind)
    open_options = (Entry(form, allowed, "none", doc) for form, allowed, doc in reader.open_options())
    return Chapter(
        f"[{registry.TABLES[kind].prefix}*]", reader.purpose(), (*map(_entry, reader.options()), *open_options)
    )


def _sentence(settings: type[Settings]) -> str:
    """Return the purpose of a section: the first sentence of its docstring, after the section's name."""
    words = (inspect.getdoc(settings) or "").partition(": ")[2].partition(". ")[0].rstrip(".")
    return f"{words[:1].upper()}{words[1:]}."


def _entries(settings: type[Settings]) -> Iterator[Entry]:
    return map(_entry, options_of(settings))


def _entry(option: Option) -> Entry:
    low, high = option.bounds
    bounds = [f"at least {_value(option, low)}"] if low is not None else []
    bounds += [f"at most {_value(option, high)}"] if high is not None else []
    allowed = "; ".join([option.kind.allowed, *bounds])
    return Entry(option.name, allowed, "" if option.required else _value(option, option.default), option.doc)


def _value(option: Option, value: Any) -> str:
    """Return a value as one would write it in the file."""
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if option.kind.unit:
        return write_number(option.kind, value)
    if option.kind.name == "mode":
        return f"{value:04o}"
    if isinstance(value, tuple | frozenset) and not hasattr(value, "_fields"):
        return ", ".join(map(str, sorted(value) if isinstance(value, frozenset) else value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_markdown(found: list[Chapter]) -> Iterator[str]:
    """Yield the lines of docs/reference.md."""
    yield "# Options of loglines.cfg"
    yield ""
    yield "Made by `aggregator config reference --markdown > docs/reference.md`: edit the declarations, not this page."
    for chapter in found:
        yield ""
        yield f"## {chapter.title.replace('*', chr(92) + '*')}"
        yield ""
        if chapter.text:
            yield from _markdown_lines(chapter.text)
            yield ""
        if not chapter.entries:
            yield "No options of its own."
            continue
        yield "| option | default | allowed | meaning |"
        yield "|---|---|---|---|"
        for entry in chapter.entries:
            default = f"`{_cell(entry.default)}`" if entry.default else "**required**"
            default = "" if entry.default == "none" else default
            yield f"| `{entry.name}` | {default} | {_cell(entry.allowed)} | {_cell(entry.doc)} |"


def _markdown_lines(text: str) -> Iterator[str]:
    """Yield the lines of a docstring, with its fixed block (In, Out, Effect, Errors, Source) as a list."""
    in_block = False
    for line in text.splitlines():
        starts = _BLOCK.match(line)
        in_block = bool(starts) or (in_block and bool(line))
        shown = _BLOCK.sub(r"- **\1**: ", line).replace("_*", r"_\*")
        yield shown if starts or not in_block else f"  {shown}"


def _cell(text: str) -> str:
    return re.sub(r"([|<])", r"\\\1", " ".join(text.split()))


def as_text(found: list[Chapter]) -> Iterator[str]:
    """Yield the lines of the reference for a terminal, each option as one would write it in the file."""
    for chapter in found:
        yield chapter.title
        yield from textwrap.indent(chapter.text, "    ").splitlines()
        for entry in chapter.entries:
            yield ""
            yield f"  {entry.name} = {entry.default}".rstrip() + ("" if entry.default else "  (required)")
            words = f"{entry.doc}; allowed: {entry.allowed}" if entry.allowed else entry.doc
            yield from textwrap.wrap(words, 100, initial_indent="      ", subsequent_indent="      ")
        yield ""


def as_json(found: list[Chapter]) -> list[dict[str, Any]]:
    """Return the reference as data for programs."""
    return [
        {"title": chapter.title, "text": chapter.text, "options": [entry._asdict() for entry in chapter.entries]}
        for chapter in found
    ]
