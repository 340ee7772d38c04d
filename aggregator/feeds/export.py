"""Archived GTFS-realtime as tables: Parquet, CSV or JSON lines, an entity a row, however long the time asked for.

Memory holds one publication and one batch of rows; a bundle being read is spooled to the disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from aggregator.errors import AggregatorError, Unavailable
from aggregator.feeds.bundle import Contents, read_bundle
from aggregator.feeds.catalogue import Archived, Span, open_bundle, read_current, read_manifests
from aggregator.feeds.dates import read_moment
from aggregator.feeds.entities import Decoder
from aggregator.feeds.layout import parse_publication
from aggregator.feeds.manifest import Manifest
from aggregator.feeds.members import SpooledBody
from aggregator.feeds.rowfiles import Format, Row, RowFile, open_rows
from aggregator.feeds.timestamps import Corrupt
from aggregator.stores.store import Store


class Exported(NamedTuple):
    """What one bundle came to."""

    archived: Archived
    publications: int
    rows: int
    problems: tuple[str, ...]
    """What could not be read and is not in the tables."""


class _Origin(NamedTuple):
    """How a publication came to us."""

    fetched_ms: int
    url: str


class Target:
    """Where rows go: all into one file, or into one for each feed and day."""

    def __init__(self, path: Path, format_name: Format, *, is_folder: bool) -> None:
        self._path = path
        self._format: Format = format_name
        self._is_folder = is_folder
        self._open: tuple[Path, RowFile] | None = None

    def file_for(self, archived: Archived) -> RowFile:
        """Return the file that a bundle's rows go to; bundles come by feed and time."""
        path = self._path
        if self._is_folder:
            day = datetime.fromtimestamp(archived.start, timezone.utc)
            path = path / f"{archived.feed}-{day:%Y-%m-%d}.{self._format}"
        if self._open is None or self._open[0] != path:
            self.close()
            self._open = (path, open_rows(path, self._format))
        return self._open[1]

    def close(self) -> None:
        """Make the file that is open whole."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def discard(self) -> None:
        """Remove the file that is open."""
        if self._open is not None:
            self._open[1].discard()
            self._open = None


def export(store: Store, bundles: Sequence[Archived], span: Span | None, target: Target) -> Iterator[Exported]:
    """Write bundles to a target, and yield what each came to. The target is whole when the last one was yielded."""
    decoder = Decoder()
    try:
        for bundle, after in zip(bundles, [*bundles[1:], None], strict=True):
            # what is published at the end of a period is fetched in the next
            manifests = _manifests(store, after) if after and after.feed == bundle.feed else []
            yield _Export(store, decoder, span, manifests).run(bundle, target.file_for(bundle))
        target.close()
    finally:
        target.discard()


def _manifests(store: Store, archived: Archived) -> list[Manifest]:
    try:
        return read_current(store, archived, lambda current: read_manifests(store, current))
    except AggregatorError:
        return []  # said when it is its turn


class _Export:
    """One bundle."""

    def __init__(self, store: Store, decoder: Decoder, span: Span | None, after: Iterable[Manifest]) -> None:
        self._store = store
        self._decoder = decoder
        self._span = span
        self._after = after
        self._publications = self._rows = 0
        self._problems: list[str] = []

    def run(self, archived: Archived, file: RowFile) -> Exported:
        with tempfile.TemporaryFile(prefix="aggregator-export-") as spool:
            try:
                read = read_current(self._store, archived, lambda current: self._read(current, spool))
            except Unavailable:
                raise  # not this bundle's fault: a table without the rest would be of no use
            except AggregatorError as error:
                return Exported(archived, 0, 0, (f"{archived.objects[0].key}: {error}",))
            origins = _origins([manifest for contents in read for manifest in contents.manifests], self._after)
            for body in _distinct(read):
                self._write(archived, body, origins, file)
        return Exported(archived, self._publications, self._rows, tuple(self._problems))

    def _read(self, archived: Archived, spool: object) -> list[Contents]:
        found = []
        for info in archived.objects:
            with open_bundle(self._store, info.key) as file:
                found.append(read_bundle(file, spool))  # type: ignore[arg-type]
        return found

    def _write(self, archived: Archived, body: SpooledBody, origins: dict[str, _Origin], file: RowFile) -> None:
        name = body.member.name
        if self._span is not None and not self._span.start <= _time_of(body) < self._span.end:
            return
        try:
            rows = self._decoder.rows(b"".join(body.pieces()))
        except Corrupt as error:
            self._problems.append(f"{name}: {error}")
            return
        origin = origins.get(body.member.sha256)
        own: Row = {"feed": archived.feed, "publication": name}
        if origin is not None:
            own |= {"source_url": origin.url, "fetched_at": origin.fetched_ms}
        for row in rows:
            file.write({**row, **own, "header_at": _moment_ms(row["header_at"])})
        self._publications += 1
        self._rows += len(rows)


def _origins(manifests: Iterable[Manifest], after: Iterable[Manifest]) -> dict[str, _Origin]:
    """Return for each body when and where it was fetched first."""
    origins: dict[str, _Origin] = {}
    for manifest in (*manifests, *after):
        for tick in manifest.ticks:
            if tick.sha256 and tick.outcome == "ok":
                fetched_ms = tick.started_ms if tick.started_ms is not None else tick.planned_ms
                origin = _Origin(fetched_ms, manifest.header.url)
                origins[tick.sha256] = min(origin, origins.get(tick.sha256, origin))
    return origins


def _distinct(read: Iterable[Contents]) -> list[SpooledBody]:
    """Return the publications of a period's objects in order of time, each once."""
    bodies = {(body.member.sha256, _time_of(body)): body for contents in read for body in contents.bodies}
    return sorted(bodies.values(), key=lambda body: (_time_of(body), body.member.name))


def _time_of(body: SpooledBody) -> int:
    try:
        return parse_publication(body.member.name).published_at
    except ValueError:  # not a name of ours: another program's archive
        return body.member.mtime


def _moment_ms(timestamp: int | None) -> int | None:
    try:
        return round(read_moment(timestamp) * 1000)
    except ValueError:  # none, or an impossible one
        return None
