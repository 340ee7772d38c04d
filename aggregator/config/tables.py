"""The sections that are no programs and that several stages may read: `[feed_NAME]` and `[store_NAME]`.

They are read when first asked for: a worker that needs none does not pay for 10,000 feeds. What options they have is
declared beside the code that uses them and loaded by name, as stages are.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aggregator.config.builds import Build
from aggregator.config.ini import Document, Problem
from aggregator.config.instance import shown
from aggregator.config.settings import options_of, parse_settings, unknown

FEED, STORE = "feed_", "store_"
PREFIXES = (FEED, STORE)

Texts = Mapping[str, Mapping[str, str]]


class FeedTable(NamedTuple):
    """The feeds of a configuration by name, and what is wrong with those that are not among them."""

    feeds: Mapping[str, Any]
    """Of type `aggregator.feeds.settings.table.Feed`."""
    faults: tuple[str, ...]
    files: tuple[tuple[Path, tuple[int, ...]], ...]
    """What was read, each file with a mark of how it was then."""

    def is_current(self) -> bool:
        """True while the files are as they were read."""
        return all(mark_of(file) == mark for file, mark in self.files)


class Tables:
    """The tables of one configuration. What is wrong with them goes into a document of their own."""

    def __init__(
        self,
        document: Document,
        raw: Texts,
        texts: Texts,
        file: Path,
        root: Path,
        feeds_file: str | None,
        environ: Mapping[str, str],
        imports: bool,
        build: Build | None = None,
    ) -> None:
        """Without `imports` no plugin is imported that a feed names."""
        self.raw = raw
        self.texts = texts
        self.file = file
        self.root = root
        self.feeds_file = feeds_file
        self.environ = environ
        self.imports = imports
        self._document = document
        self._build = build
        # a build never changes: there may be another one
        changing = build.folder.with_name("current") if build else file
        self._marks = [(changing, mark_of(changing))]
        self._feeds_text: bytes | None = None

    def read_feeds(self) -> tuple[dict[str, Any], list[Problem]]:
        """Return the feeds without faults, and the faults of the others."""
        document = self._own_document(FEED)
        module = importlib.import_module("aggregator.feeds.settings.table")
        reader = module.Reader(document, self.root, imports=self.imports)
        for name, section in self._sections(FEED):
            reader.read_section(name, section, self.texts[section], self.raw[section])
        if self.feeds_file is not None:
            path = self.root / self.feeds_file
            if self._build is None:
                self._marks.append((path, mark_of(path)))
            reader.read_file(path, self.feeds_text, self.environ)
        return _without_faults(reader.feeds, FEED, document), document.faults

    def feeds_text(self) -> bytes | None:
        """Return the feeds file, None when none is named; it is read once. Raises OSError."""
        if self.feeds_file is not None and self._feeds_text is None:
            path = self._build.feeds_file if self._build else self.root / self.feeds_file
            self._feeds_text = path.read_bytes()
        return self._feeds_text

    def feed_table(self) -> FeedTable:
        """Return the feeds and what a user should read about the others."""
        feeds, faults = self.read_feeds()
        return FeedTable(feeds, tuple(render(faults, self.file)), tuple(self._marks))

    def read_stores(self) -> tuple[dict[str, Any], list[Problem]]:
        """Return the settings of stores without faults, and the faults of the others."""
        document = self._own_document(STORE)
        module = importlib.import_module("aggregator.stores.settings")
        stores = {}
        for name, section in self._sections(STORE):
            settings, faults = parse_settings(module.StoreSettings, self.texts[section])
            more = list(module.faults_of(settings)) if settings is not None else []
            for option, text in [*faults, *more]:
                document.fault(section, option, text)
            known = tuple(option.name for option in options_of(module.StoreSettings))
            for option in self.texts[section]:
                if option not in known:
                    document.fault(section, option, unknown(option, known))
            if settings is not None:
                stores[name] = settings
        return _without_faults(stores, STORE, document), document.faults

    def check(self) -> list[Problem]:
        """Return everything that is wrong with any of them."""
        return [*self.read_feeds()[1], *self.read_stores()[1]]

    def digest(self, prefix: str) -> str:
        """Return a mark of all that one table says, variables of the environment by their names."""
        seen: list[object] = [(name, self.raw[section]) for name, section in self._sections(prefix)]
        if prefix == FEED and self.feeds_file is not None:
            seen.append(self.feeds_text())
        return hashlib.sha256(repr(seen).encode()).hexdigest()

    def _sections(self, prefix: str) -> list[tuple[str, str]]:
        return [(section.removeprefix(prefix), section) for section in self.texts if section.startswith(prefix)]

    def _own_document(self, prefix: str) -> Document:
        """Return a document with the sections of all, and the faults found so far in those of one prefix."""
        own = Document()
        own.sections, own.veiled = self._document.sections, self._document.veiled
        own.faults = [fault for fault in self._document.faults if (fault.section or "").startswith(prefix)]
        return own


def _without_faults(entries: dict[str, Any], prefix: str, document: Document) -> dict[str, Any]:
    bad = {fault.section for fault in document.faults}
    return {name: entry for name, entry in entries.items() if f"{prefix}{name}" not in bad}


def mark_of(file: Path) -> tuple[int, ...]:
    """Return what changes when a file is written anew; nothing when there is no such file."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def render(problems: list[Problem], file: Path) -> list[str]:
    """Return a line for each problem, in the order of the lines."""
    ordered = sorted(problems, key=lambda problem: (problem.file, problem.line))
    return [problem.render(shown(file)) for problem in ordered]
