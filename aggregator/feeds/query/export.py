"""Archived GTFS-realtime as tables: Parquet, CSV or JSON lines, an entity a row, however long the time asked for.

Memory holds one publication, one batch of rows and the manifests of three bundles. A bundle being read is spooled to
the disk, and so is the next one of its feed, as each is read only once.
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
    """Where rows go: all into one file, or into one for each feed and day, or the part of it that is in the span."""

    def __init__(self, path: Path, format_name: Format, *, is_folder: bool, span: Span | None = None) -> None:
        self._path = path
        self._format: Format = format_name
        self._is_folder = is_folder
        self._span = span
        self._open: tuple[Path, RowFile] | None = None

    def file_for(self, archived: Archived) -> RowFile:
        """Return the file that a bundle's rows go to; bundles come by feed and time."""
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
        """Make the file that is open whole."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def discard(self) -> None:
        """Remove the file that is open."""
        if self._open is not None:
            self._open[1].discard()
            self._open = None


def _part_of_day(day: int, span: Span | None) -> str:
    """Return what names the part of a day that a span takes; nothing for all of it."""
    start, end = (0, DAY_S) if span is None else (max(span.start - day, 0), min(span.end - day, DAY_S))
    return "" if (start, end) == (0, DAY_S) else f".{_clock(start)}-{_clock(end)}"


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02}{seconds // 60 % 60:02}{seconds % 60:02}"


class _Reading(NamedTuple):
    """What one bundle holds, until its spool is closed."""

    spool: BinaryIO
    contents: list[Contents]
    """Of each of its objects."""
    problem: str = ""
    """Why it cannot be read."""

    @property
    def manifests(self) -> list[Manifest]:
        return [manifest for contents in self.contents for manifest in contents.manifests]


def export(store: Store, bundles: Sequence[Archived], span: Span | None, target: Target) -> Iterator[Exported]:
    """Write bundles to a target, and yield what each came to. The target is whole when the last one was yielded."""
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
    """Read a bundle. Raises Unavailable, as that is not this bundle's fault: a table without the rest is of no use."""
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
    """Return a bundle's manifests and those beside it, which the store is asked for at the ends of what is exported.

    What is published at the end of a period is fetched in the next; and a feed's clock may be fast.
    """
    period_s = period_s_of(own)
    if before is None:
        before = manifests_beside(store, archived, archived.start - period_s)
    if after is None:
        after = manifests_beside(store, archived, archived.start + period_s)
    return [*before, *own, *after]


class _Export:
    """One bundle."""

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
    """Return for each body when and where it was fetched first."""
    origins: dict[str, _Origin] = {}
    for manifest in manifests:
        for tick in (*manifest.ticks, *manifest.elsewhere):
            if tick.sha256 and tick.outcome == "ok":
                origin = _Origin(tick.fetched_ms, manifest.header.url)
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
