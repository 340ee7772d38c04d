"""Tables: sections that are no programs and that several stages may read, such as `[feed_NAME]`.

`aggregator.registry.TABLES` names each table once, with the object that reads it. A table is read when it is first
asked for: a worker that needs no table does not pay for 10,000 feeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from aggregator import registry
from aggregator.config.builds import Build
from aggregator.config.hints import meant, unknown
from aggregator.config.ini import Document, Problem, Texts
from aggregator.config.instance import shown
from aggregator.config.parsing import options_of, parse_settings
from aggregator.config.settings import Option, Settings
from aggregator.errors import ConfigError


class Table(NamedTuple):
    """The entries of one table by name, and the faults of the entries that are left out."""

    entries: Mapping[str, Any]
    faults: tuple[str, ...] = ()
    files: tuple[tuple[Path, tuple[int, ...]], ...] = ()
    """The files that were read, each with a mark of its state at that time."""
    faulty: Mapping[str, tuple[str, ...]] = {}
    """The faults of each section, by the name of its entry."""
    missing: str = "no section [{}]"
    """The words for an entry that is not there; the braces stand for its name."""

    def is_current(self) -> bool:
        """True while the files are as they were read."""
        return all(mark_of(file) == mark for file, mark in self.files)

    def all(self) -> Mapping[str, Any]:
        """Return every entry. Raises ConfigError when any entry has a fault."""
        if self.faults:
            raise ConfigError(*self.faults)
        return self.entries

    def entry(self, name: str) -> Any:
        """Return one entry, whatever is wrong with others. Raises ConfigError when this entry is missing or wrong."""
        if name in self.faulty:
            raise ConfigError(*self.faulty[name])
        if name not in self.entries:
            raise ConfigError(f"{self.missing.format(name)}{meant(name, list(self.entries))}")
        return self.entries[name]


class TableSection(NamedTuple):
    """One section of a table."""

    name: str
    """The name of the entry: the section's name without the prefix."""
    section: str
    texts: Mapping[str, str]
    raw: Mapping[str, str]
    """The options as they stand in the file; in `texts` the variables are filled in."""


class TableText(NamedTuple):
    """All that the configuration says about one table, for the table's reader."""

    document: Document
    """The document that takes the faults."""
    root: Path
    sections: tuple[TableSection, ...]
    environ: Mapping[str, str]
    imports: bool
    """False when no module that an entry names may be imported."""
    file: Path | None
    """The file of further entries; None when the configuration names none."""
    read_file: Callable[[], bytes | None]
    """Returns the contents of that file. Raises OSError."""


class TableReader(Protocol):
    """The reader that makes entries from the sections of one kind."""

    live: bool
    """True when entries come and go while workers run: a stage reads the entries of the current build, even if it runs
    an earlier build, and a build says which entries begin and end."""
    overview: str
    """A `monitor.overviews.Overview` of the entries, as ``module:OBJECT``; empty without one."""

    def purpose(self) -> str:
        """Return one sentence on what a section is for."""

    def options(self) -> Iterable[Option]:
        """Return the options that a section may have."""

    def open_options(self) -> Iterable[tuple[str, str, str]]:
        """Return (form, what is allowed, documentation) of further options whose names are partly free."""

    def read(self, text: TableText) -> Mapping[str, Any]:
        """Return the entries by name; faults go into the document."""


def read_section(
    text: TableText,
    section: TableSection,
    settings: type[Settings],
    faults_of: Callable[[Any], Iterable[tuple[str, str]]] = lambda settings: (),
) -> Any:
    """Return the settings of a section whose options are fixed; None when they have a fault.

    `faults_of` returns (option, fault) for faults that show only when options are read together.
    """
    parsed, faults = parse_settings(settings, section.texts)
    for option, fault in (*faults, *(faults_of(parsed) if parsed is not None else ())):
        text.document.fault(section.section, option, fault)
    known = tuple(option.name for option in options_of(settings))
    for name in section.texts:
        if name not in known:
            text.document.fault(section.section, name, unknown(name, known))
    return parsed


def reader_of(kind: str) -> TableReader:
    """Return the reader of a table. Raises KeyError when there is no such table."""
    reader: TableReader = registry.load_object(registry.TABLES[kind].reader)
    return reader


class Tables:
    """The tables of one configuration. The faults of a table go into a document of its own."""

    def __init__(
        self,
        document: Document,
        raw: Texts,
        texts: Texts,
        file: Path,
        root: Path,
        files: Mapping[str, str],
        environ: Mapping[str, str],
        imports: bool,
        build: Build | None = None,
    ) -> None:
        """`files` has the path of each table's file. Without `imports` no module that an entry names is imported."""
        self.raw = raw
        self.texts = texts
        self.file = file
        self.root = root
        self.files = files
        self.environ = environ
        self.imports = imports
        self._document = document
        self._build = build
        # a build never changes, but another build may become current
        changing = build.folder.with_name("current") if build else file
        self._marks = {changing: mark_of(changing)}
        self._copies: dict[str, bytes] = {}
        self._known: dict[str, Table] = {}

    def read(self, kind: str) -> tuple[dict[str, Any], list[Problem]]:
        """Return the entries without faults, and the faults of the others."""
        document = self._own_document(kind)
        path = self.root / self.files[kind] if kind in self.files else None
        if path is not None and self._build is None:
            self._marks.setdefault(path, mark_of(path))
        sections = tuple(self._sections(kind))
        text = TableText(
            document, self.root, sections, self.environ, self.imports, path, lambda: self.file_of(kind)
        )  # fmt: skip
        entries = reader_of(kind).read(text)
        bad = {fault.section for fault in document.faults}
        prefix = registry.TABLES[kind].prefix
        return {name: entry for name, entry in entries.items() if f"{prefix}{name}" not in bad}, document.faults

    def table(self, kind: str) -> Table:
        """Return the entries and the words for the faults of others; the same object until a file changes."""
        if kind not in self._known or not self._known[kind].is_current():
            self._known[kind] = self._table(kind)
        return self._known[kind]

    def _table(self, kind: str) -> Table:
        entries, faults = self.read(kind)
        prefix = registry.TABLES[kind].prefix
        sections = {fault.section for fault in faults if fault.section and fault.section.startswith(prefix)}
        faulty = {
            section.removeprefix(prefix): tuple(render([f for f in faults if f.section == section], self.file))
            for section in sections
        }
        missing = f"{self.file.name}: no section [{prefix}{{}}]"
        return Table(entries, tuple(render(faults, self.file)), tuple(self._marks.items()), faulty, missing)

    def file_of(self, kind: str) -> bytes | None:
        """Return the contents of a table's file, None when no file is named. Each file is read once. Raises OSError."""
        if kind not in self.files:
            return None
        if kind not in self._copies:
            file = registry.TABLES[kind].file
            path = self._build.folder / file.copy if self._build and file else self.root / self.files[kind]
            self._copies[kind] = path.read_bytes()
        return self._copies[kind]

    def copies(self) -> dict[str, bytes]:
        """Return the contents of all files of tables, by the names of their copies in a build. Raises OSError."""
        found = ((kind.file.copy, self.file_of(name)) for name, kind in registry.TABLES.items() if kind.file)
        return {copy: content for copy, content in found if content is not None}

    def check(self) -> list[Problem]:
        """Return all faults of all tables."""
        return [fault for kind in registry.TABLES for fault in self.read(kind)[1]]

    def live(self) -> dict[str, tuple[str, ...]]:
        """Return the names of all entries of each table whose entries come and go. Raises ConfigError."""
        return {kind: tuple(self.table(kind).all()) for kind in registry.TABLES if reader_of(kind).live}

    def digest(self, kind: str) -> str:
        """Return a mark of all that one table says; environment variables count by their names."""
        seen: list[object] = [(section.name, section.raw) for section in self._sections(kind)]
        if kind in self.files:
            seen.append(self.file_of(kind))
        return hashlib.sha256(repr(seen).encode()).hexdigest()

    def _sections(self, kind: str) -> Iterator[TableSection]:
        prefix = registry.TABLES[kind].prefix
        for section, texts in self.texts.items():
            if section.startswith(prefix):
                yield TableSection(section.removeprefix(prefix), section, texts, self.raw[section])

    def _own_document(self, kind: str) -> Document:
        """Return a document with all sections, and the faults found so far in the sections of one table."""
        own, prefix = Document(), registry.TABLES[kind].prefix
        own.sections, own.veiled = self._document.sections, self._document.veiled
        own.faults = [fault for fault in self._document.faults if (fault.section or "").startswith(prefix)]
        return own


def mark_of(file: Path) -> tuple[int, ...]:
    """Return a mark that changes when a file is written anew; it is empty when there is no such file."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def render(problems: list[Problem], file: Path) -> list[str]:
    """Return a line for each problem, in the order of files and lines."""
    ordered = sorted(problems, key=lambda problem: (problem.file, problem.line))
    return [problem.render(shown(file)) for problem in ordered]
