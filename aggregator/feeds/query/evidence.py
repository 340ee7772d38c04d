"""Gather all records about feeds: from the store, from local bundles, and from periods that are not bundled yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from aggregator.errors import AggregatorError
from aggregator.feeds.bundle.bundles import read_bundle
from aggregator.feeds.bundle.compression import BadBundle
from aggregator.feeds.bundle.manifest import Manifest, unite_manifests
from aggregator.feeds.bundle.openperiods import PeriodFolder, make_manifests
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.stamps import DAY_S, read_stamp
from aggregator.feeds.query.catalogue import (
    READERS,
    Archived,
    Span,
    find_bundles,
    find_period,
    manifests_in,
    open_bundle,
    read_current,
    read_manifests,
)
from aggregator.stores.directory import DirectoryStore
from aggregator.stores.store import Store


class Evidence(NamedTuple):
    """All records about one feed."""

    manifests: list[Manifest]
    """One manifest for each period and node."""
    unexplained: Mapping[int, int]
    """Archives without a manifest, as the old program made them: the start and the number of publications of each."""
    problems: list[str]
    """Objects and files that could not be read, with the reasons."""


class _Piece(NamedTuple):
    manifests: list[Manifest]
    unexplained: Mapping[int, int] = {}
    problem: str = ""


Local = dict[int, list[Path]]
"""The local files of one feed by the start of their period: ticks that are not bundled yet, and bundles."""


def gather(
    store: Store, prefix: str, folders: FeedFolders, span: Span, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, Evidence]]:
    """Yield the evidence of each of the wanted feeds in a span, by name."""
    # order: list local files, then the store; a local file that is gone when it is read is looked for in the store
    local = _local(folders, span, wanted)
    archived: dict[str, list[Archived]] = {}
    for bundle in find_bundles(store, prefix, span, wanted):
        archived.setdefault(bundle.feed, []).append(bundle)
    with ThreadPoolExecutor(READERS) as readers:
        for feed in sorted({*local, *archived}):
            files = local.get(feed, {})
            pieces = [_read_local(feed, start, path) for start, paths in files.items() for path in paths]
            pieces += readers.map(partial(_read, store), archived.get(feed, []))
            for start in [start for start, paths in files.items() if not all(path.exists() for path in paths)]:
                moved = find_period(store, prefix, feed, start)
                pieces += [_read(store, moved)] if moved else []
            yield feed, _unite(pieces)


def _local(folders: FeedFolders, span: Span, wanted: Callable[[str], bool]) -> dict[str, Local]:
    """Return the files of open periods, and of bundles that are not archived yet, or are still kept."""
    found: dict[str, Local] = {}
    for path in sorted(folders.publications.glob("*/*/ticks.*.jsonl")):
        feed, stamp = path.parts[-3:-1]
        with suppress(ValueError):  # some other file in the folder
            if wanted(feed) and span.start - DAY_S < (start := read_stamp(stamp)) < span.end:
                found.setdefault(feed, {}).setdefault(start, []).append(path)
    bundles = DirectoryStore(folders.bundles)
    for bundle in find_bundles(bundles, "", span, wanted):
        paths = [folders.bundles / info.key for info in bundle.objects]
        found.setdefault(bundle.feed, {}).setdefault(bundle.start, []).extend(paths)
    return found


def _read_local(feed: str, start: int, path: Path) -> _Piece:
    """Read a local file; return nothing when it is gone, as `gather` then looks for its records in the store."""
    try:
        if path.suffix == ".jsonl":
            # the length of a period is not known before it is bundled, and not needed here
            return _Piece(make_manifests(feed, start, 0, PeriodFolder(path.parent).records([path.name])))
        with path.open("rb") as file:
            return _Piece(list(manifests_in(file, feed, start)))
    except FileNotFoundError:
        return _Piece([])
    except BadBundle as error:
        return _Piece([], problem=f"{path}: {error}")


def _read(store: Store, archived: Archived) -> _Piece:
    try:
        return read_current(store, archived, lambda current: _piece(store, current))
    except AggregatorError as error:
        return _Piece([], problem=f"{archived.objects[0].key}: {error}")


def _piece(store: Store, archived: Archived) -> _Piece:
    manifests = read_manifests(store, archived)
    return _Piece(manifests, {} if manifests else {archived.start: _count_publications(store, archived)})


def _count_publications(store: Store, archived: Archived) -> int:
    """Return how many publications an archive without a manifest holds; the whole archive is read."""
    hashes = set()
    for info in archived.objects:
        with open_bundle(store, info.key) as file:
            hashes |= {member.sha256 for member in read_bundle(file).publications}
    return len(hashes)


def _unite(pieces: Iterable[_Piece]) -> Evidence:
    """Return the evidence of all pieces about one feed together."""
    by_start: dict[str, list[Manifest]] = {}
    counts: dict[int, int] = {}
    problems = []
    for piece in pieces:
        for manifest in piece.manifests:
            by_start.setdefault(manifest.header.start, []).append(manifest)
        counts |= piece.unexplained
        problems += [piece.problem] if piece.problem else []
    manifests = [manifest for start in sorted(by_start) for manifest in unite_manifests(by_start[start])]
    explained = {read_stamp(start) for start in by_start}
    return Evidence(manifests, {start: count for start, count in counts.items() if start not in explained}, problems)
