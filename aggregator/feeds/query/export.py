"""Export archived GTFS-realtime of spans of any length as Parquet, CSV or JSON lines, one row for each entity.

Memory holds one publication, one batch of rows and the manifests of three bundles. The current bundle and the next one
of its feed are spooled to the disk, so that each bundle is read from the store only once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO, NamedTuple

from aggregator.errors import AggregatorError, Unavailable
from aggregator.feeds.bundle.bundles import Contents, read_bundle
from aggregator.feeds.bundle.manifest import Manifest
from aggregator.feeds.bundle.members import SpooledBody
from aggregator.feeds.naming.publications import parse_publication
from aggregator.feeds.naming.stamps import DAY_S
from aggregator.feeds.query.catalogue import Archived, Span, manifests_beside, open_bundle, period_s_of, read_current
from aggregator.feeds.query.rowfiles import Format, Row, RowFile, open_rows
from aggregator.feeds.reading.dates import read_moment
from aggregator.feeds.reading.entities import Decoder
from aggregator.feeds.reading.fetched import Corrupt
from aggregator.stores.store import Store


class Exported(NamedTuple):
    """The result of one bundle."""

    archived: Archived
    publications: int
    rows: int
    problems: tuple[str, ...]
    """Errors of publications or bundles that could not be read and are missing from the tables."""


class _Origin(NamedTuple):
    """When and from where a publication was fetched."""

    fetched_ms: int
    url: str


class Target:
    """The files that rows are written to: one file for all rows, or one for each feed and day within the span."""

    def __init__(self, path: Path, format_name: Format, *, is_folder: bool, span: Span | None = None) -> None:
        self._path = path
        self._format: Format = format_name
        self._is_folder = is_folder
        self._span = span
        self._open: tuple[Path, RowFile] | None = None

    def file_for(self, archived: Archived) -> RowFile:
        """Return the file for a bundle's rows; bundles must come in order of feed and time."""
        path = self._path
        if self._is_folder:
            day = datetime.fromtimestamp(archived.start, timezone.utc)
            part = _part_of_day(archived.start // DAY_S * DAY_S, self._span)
            path = path / f"{archived.feed}-{day:%Y-%m-%d}{part}.{self._format}"
        if self._open is None or self._open[0] != path:
            self.close()
            self._open = (path, open_rows(path, self._format))
        return self._open[1]

    def close(self) -> None:
        """Complete the open file."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def discard(self) -> None:
        """Delete the open file."""
        if self._open is not None:
            self._open[1].discard()
            self._open = None


def _part_of_day(day: int, span: Span | None) -> str:
    """Return the part of a file name that tells which part of a day a span covers; empty for the whole day."""
    start, end = (0, DAY_S) if span is None else (max(span.start - day, 0), min(span.end - day, DAY_S))
    return "" if (start, end) == (0, DAY_S) else f".{_clock(start)}-{_clock(end)}"


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02}{seconds // 60 % 60:02}{seconds % 60:02}"


class _Reading(NamedTuple):
    """The contents of one bundle, usable until its spool is closed."""

    spool: BinaryIO
    contents: list[Contents]
    """The contents of each object of the bundle."""
    problem: str = ""
    """Why the bundle cannot be read; empty when it can."""

    @property
    def manifests(self) -> list[Manifest]:
        return [manifest for contents in self.contents for manifest in contents.manifests]


def export(store: Store, bundles: Sequence[Archived], span: Span | None, target: Target) -> Iterator[Exported]:
    """Write bundles to a target, and yield the result of each. The target is complete once the iterator has ended."""
    decoder = Decoder()
    reading: _Reading | None = None
    following: _Reading | None = None
    before: list[Manifest] | None = None
    try:
        for bundle, after in zip(bundles, [*bundles[1:], None], strict=True):
            reading = following or _read(store, bundle)
            following = _read(store, after) if after and after.feed == bundle.feed else None
            around = _around(store, bundle, before, reading.manifests, following.manifests if following else None)
            yield _Export(decoder, span, _origins(around)).run(bundle, reading, target.file_for(bundle))
            before = reading.manifests if following else None
            reading.spool.close()
        target.close()
    finally:
        for left in (reading, following):
            if left is not None:
                left.spool.close()
        target.discard()


def _read(store: Store, archived: Archived) -> _Reading:
    """Read a bundle. Raises Unavailable, as an unreachable store concerns all bundles: a partial table is of no use."""
    spool = tempfile.TemporaryFile(prefix="aggregator-export-")  # noqa: SIM115 - whoever reads it closes it

    def read(current: Archived) -> list[Contents]:
        found = []
        for info in current.objects:
            with open_bundle(store, info.key) as file:
                found.append(read_bundle(file, spool))
        return found

    try:
        return _Reading(spool, read_current(store, archived, read))
    except Unavailable:
        spool.close()
        raise
    except AggregatorError as error:
        return _Reading(spool, [], f"{archived.objects[0].key}: {error}")


def _around(
    store: Store, archived: Archived, before: list[Manifest] | None, own: list[Manifest], after: list[Manifest] | None
) -> list[Manifest]:
    """Return the manifests of a bundle and of the periods before and after it.

    A publication from the end of a period is fetched in the next period, and one of a fast clock in the period before.
    Manifests that were not read for the export anyway are fetched from the store.
    """
    period_s = period_s_of(own)
    if before is None:
        before = manifests_beside(store, archived, archived.start - period_s)
    if after is None:
        after = manifests_beside(store, archived, archived.start + period_s)
    return [*before, *own, *after]


class _Export:
    """The export of one bundle."""

    def __init__(self, decoder: Decoder, span: Span | None, origins: Mapping[str, _Origin]) -> None:
        self._decoder = decoder
        self._span = span
        self._origins = origins
        self._publications = self._rows = 0
        self._problems: list[str] = []

    def run(self, archived: Archived, reading: _Reading, file: RowFile) -> Exported:
        if reading.problem:
            return Exported(archived, 0, 0, (reading.problem,))
        for body in _distinct(reading.contents):
            self._write(archived, body, file)
        return Exported(archived, self._publications, self._rows, tuple(self._problems))

    def _write(self, archived: Archived, body: SpooledBody, file: RowFile) -> None:
        name = body.member.name
        if self._span is not None and not self._span.start <= _time_of(body) < self._span.end:
            return
        try:
            rows = self._decoder.rows(b"".join(body.pieces()))
        except Corrupt as error:
            self._problems.append(f"{name}: {error}")
            return
        origin = self._origins.get(body.member.sha256)
        own: Row = {"feed": archived.feed, "publication": name}
        if origin is not None:
            own |= {"source_url": origin.url, "fetched_at": origin.fetched_ms}
        for row in rows:
            file.write({**row, **own, "header_at": _moment_ms(row["header_at"])})
            self._rows += 1
        self._publications += 1


def _origins(manifests: Iterable[Manifest]) -> dict[str, _Origin]:
    """Return for each body, by its hash, when and from where it was fetched first."""
    origins: dict[str, _Origin] = {}
    for manifest in manifests:
        for tick in (*manifest.ticks, *manifest.elsewhere):
            if tick.sha256 and tick.outcome == "ok":
                origin = _Origin(tick.fetched_ms, manifest.header.url)
                origins[tick.sha256] = min(origin, origins.get(tick.sha256, origin))
    return origins


def _distinct(read: Iterable[Contents]) -> list[SpooledBody]:
    """Return the publications in a period's objects, ordered by time, each once."""
    bodies = {(body.member.sha256, _time_of(body)): body for contents in read for body in contents.bodies}
    return sorted(bodies.values(), key=lambda body: (_time_of(body), body.member.name))


def _time_of(body: SpooledBody) -> int:
    try:
        return parse_publication(body.member.name).published_at
    except ValueError:  # the archive of another program, with names of another form
        return body.member.mtime


def _moment_ms(timestamp: int | None) -> int | None:
    try:
        return round(read_moment(timestamp) * 1000)
    except ValueError:  # a missing or impossible timestamp
        return None
