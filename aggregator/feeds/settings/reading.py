"""Read the feeds of a configuration: sections `[feed_NAME]`, and rows of `feeds_file`."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from aggregator.config import placeholders
from aggregator.config.foreign import advice, is_python
from aggregator.config.hints import shorten, unknown
from aggregator.config.ini import Document, Problem, veil
from aggregator.config.instance import shown
from aggregator.config.parsing import options_of, parse_settings
from aggregator.config.settings import Option
from aggregator.config.tables import TableText
from aggregator.feeds.naming.feednames import MAX_NAME_BYTES, parse_feed_name
from aggregator.feeds.reading.timestamps import is_plugin, resolve
from aggregator.feeds.settings.asking import HEADER_PREFIX, faults_of_asking, read_body, read_headers
from aggregator.feeds.settings.section import FeedSettings
from aggregator.feeds.settings.table import COLUMNS, Feed, fault_of_host, make_feed
from aggregator.http import options
from aggregator.http.masking import mask_bad_url
from aggregator.http.route import DIRECT, Route, Tls


class FeedReader:
    """Collect feeds. Faults are added to the document."""

    def __init__(self, document: Document, root: Path, environ: Mapping[str, str], *, imports: bool = True) -> None:
        """Without `imports`, plugins that feeds name are neither imported nor looked for."""
        self.document = document
        self.root = root
        self.environ = environ
        self.imports = imports
        self.feeds: dict[str, Feed] = {}
        self._places: dict[str, str] = {}
        self._timestamps: dict[str, str] = {}
        """The fault of each `timestamp` option seen so far; empty when it is fine."""
        self._files: dict[Tls, list[tuple[str, str]]] = {}
        """The faults of the files for TLS seen so far."""

    def read_section(self, name: str, section: str, texts: Mapping[str, str], raw: Mapping[str, str]) -> None:
        """Read a section `[feed_NAME]`."""
        self.document.veiled[section, "url"] = mask_bad_url(raw.get("url", ""))
        faults = list(self._read(name, texts, raw, f"[{section}] in line {self.document.line_of(section)}"))
        for option, text in faults:
            self.document.fault(section, option, text)

    def read_file(self, path: Path, read: Callable[[], bytes | None]) -> None:
        """Read a feeds file: comma-separated, in UTF-8; its first line may name the columns.

        `path` is the file's name, and `read` returns its bytes.
        """
        try:
            source = read() or b""
            lines = source.decode("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"bad encoding: {error}; save it as UTF-8"
            self.document.fault("aggregator", "feeds_file", f"{path.name} cannot be read: {reason}")
            return
        if is_python(source):
            # one fault for the file, as faults of single lines could quote secrets
            self.document.fault("aggregator", "feeds_file", f"{path.name} is {advice(path, source)}")
            return
        file = shown(path)
        here = str(path.absolute().parent)
        columns: Sequence[str] = COLUMNS
        first = True
        rows = csv.reader(lines, skipinitialspace=True, strict=True)
        try:
            for cells in rows:
                if not any(cell.strip() for cell in cells) or cells[0].lstrip().startswith("#"):
                    continue
                if first and cells[0].strip().lower() == "id":
                    columns = [cell.strip().lower() for cell in cells]
                    self._check_columns(columns, file, rows.line_num)
                else:
                    self._read_row(columns, cells, file, rows.line_num, here)
                first = False
        except csv.Error as error:
            self._fault_row(file, rows.line_num, None, f"no row of comma-separated values: {error}")

    def _check_columns(self, columns: Sequence[str], file: str, line: int) -> None:
        known = ("id", *(option.name for option in options_of(FeedSettings)))
        for column in columns:
            if column not in known and not column.startswith(HEADER_PREFIX):
                self._fault_row(file, line, column, unknown(column, known).replace("option", "column"))
            elif columns.count(column) > 1:
                self._fault_row(file, line, column, "stands there twice")

    def _read_row(self, columns: Sequence[str], cells: list[str], file: str, line: int, here: str) -> None:
        if len(cells) > len(columns):
            words = f"{len(cells)} values for {len(columns)} columns ({', '.join(columns)})"
            self._fault_row(file, line, None, words)
            return
        raw = {column: cell.strip() for column, cell in zip(columns, cells, strict=False) if cell.strip()}
        texts = {}
        for column, text in raw.items():
            texts[column], missing = placeholders.expand(text, here, self.environ)
            if missing:
                self._fault_row(file, line, column, f"missing environment variable {', '.join(missing)}")
                return
        veiled = {column: text for column, text in raw.items() if "%(ENV_" in text}
        veiled["url"] = mask_bad_url(raw.get("url", ""))
        name = texts.pop("id", "")
        for option, text in self._read(name, texts, raw, f"{file}:{line}"):
            if option in veiled:
                text = veil(text, veiled[option])
            self._fault_row(file, line, option or "id", text)

    def _read(
        self, name: str, texts: Mapping[str, str], raw: Mapping[str, str], place: str
    ) -> Iterator[tuple[str | None, str]]:
        """Keep one feed, or yield (option, fault) for each of its faults."""
        try:
            name = parse_feed_name(name)
        except ValueError:
            allowed = (
                f'at most {MAX_NAME_BYTES} bytes without / \\ : * ? " < > |, no . or - first, no . last, not like the '
                "name of a manifest"
            )
            yield None, f"bad feed name (found {shorten(name)}); allowed: {allowed}"
        settings, faults = parse_settings(FeedSettings, texts)
        yield from faults
        headers, more = read_headers(texts)
        known = tuple(option.name for option in options_of(FeedSettings))
        more += [
            (option, unknown(option, (*known, f"{HEADER_PREFIX}NAME")))
            for option in texts
            if option not in known and not option.startswith(HEADER_PREFIX)
        ]
        body, route = None, DIRECT
        if settings is not None:
            route = options.route_of(settings, self.root)
            more += [*faults_of_asking(settings, headers), *options.faults_of(settings), *self._faults_of_files(route)]
            try:
                body = read_body(settings, self.root)
            except ValueError as error:
                more.append(("body_file", str(error)))
            more += [("url", text) for text in fault_of_host(settings.url)]
            more += [("timestamp", text) for text in self._fault_of_timestamp(settings.timestamp)]
        if name in self._places:
            more.append((None, f"a second feed {name}; the first one is {self._places[name]}"))
        yield from more
        if settings is not None and not more:
            self._places[name] = place
            secrets = placeholders.taken(raw.values(), self.environ)
            self.feeds[name] = make_feed(name, settings, headers, raw.get("url", settings.url), body, route, secrets)

    def _faults_of_files(self, route: Route) -> list[tuple[str, str]]:
        if not any(route.tls):
            return []
        if route.tls not in self._files:
            self._files[route.tls] = list(options.faults_of_files(route))
        return self._files[route.tls]

    def _fault_of_timestamp(self, timestamp: str | None) -> list[str]:
        if timestamp is None or (not self.imports and is_plugin(timestamp)):
            return []
        if timestamp not in self._timestamps:
            try:
                resolve(timestamp, self.root)
                self._timestamps[timestamp] = ""
            except ValueError as error:
                self._timestamps[timestamp] = str(error)
        text = self._timestamps[timestamp]
        return [text] if text else []

    def _fault_row(self, file: str, line: int, column: str | None, text: str) -> None:
        self.document.faults.append(Problem(line, None, column, text, file))


class FeedTable:
    """The reader of the table of feeds, from sections and rows (a `config.tables.TableReader`)."""

    live = True
    overview = "aggregator.feeds.query.overview:OVERVIEW"

    def purpose(self) -> str:
        """Return the purpose of a section."""
        return "What to download, how often, and what it is."

    def options(self) -> tuple[Option, ...]:
        """Return the options that a section may have."""
        return options_of(FeedSettings)

    def open_options(self) -> tuple[tuple[str, str, str], ...]:
        """Return the form of the options that name a header."""
        return ((f"{HEADER_PREFIX}NAME", "one line of ASCII", "a header to send to the feed's own server"),)

    def read(self, text: TableText) -> Mapping[str, Feed]:
        """Return the feeds by name; faults are added to the document."""
        reader = FeedReader(text.document, text.root, text.environ, imports=text.imports)
        for name, section, texts, raw in text.sections:
            reader.read_section(name, section, texts, raw)
        if text.file is not None:
            reader.read_file(text.file, text.read_file)
        return reader.feeds


TABLE = FeedTable()
