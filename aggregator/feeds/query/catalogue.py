"""What a store holds of each feed and period, under whatever keys and in whatever format it lies there.

One period may lie in several objects: an archive of the old program beside ours, or several under keys that name their
content, where the store has no conditional writes. Together they are one bundle, and are read as their union.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from math import gcd
from typing import Any, NamedTuple, TypeVar

from aggregator.errors import AggregatorError, Unavailable
from aggregator.feeds.bundle.bundles import ManifestReader
from aggregator.feeds.bundle.compression import BadBundle, Decompressed
from aggregator.feeds.bundle.manifest import Manifest, unite_manifests
from aggregator.feeds.bundle.tarstream import read_tar
from aggregator.feeds.naming.bundles import BundleName, is_manifest_name, parse_key
from aggregator.feeds.naming.feednames import parse_feed_name
from aggregator.feeds.naming.stamps import DAY_S, write_stamp
from aggregator.stores.store import Conflict, Info, NotFound, Store

T = TypeVar("T")

READERS = 8
"""Objects that are read at the same time."""

_MANY_DAYS = 400
"""From so many days on, one listing of everything is quicker than one a day."""
_MARK = re.compile(r"[-.~+](?:r\d+|[0-9a-f]{8,64})(?=\.tar\.[a-z0-9]+$)", re.ASCII)
"""The number of a revision among the local bundles; the hash of the contents in stores without conditional writes."""


class Span(NamedTuple):
    """A time range in Unix seconds, its end not included."""

    start: int
    end: int


class Archived(NamedTuple):
    """One feed and period in a store."""

    feed: str
    start: int
    objects: tuple[Info, ...]
    """What holds it, ordered by key: mostly one object."""

    @property
    def size_bytes(self) -> int:
        """The bytes of all its objects."""
        return sum(info.size for info in self.objects)


def read_key(key: str) -> tuple[str, BundleName]:
    """Return the prefix and the bundle that a key names, also one with a mark of its own. Raises ValueError."""
    try:
        prefix, name = parse_key(key)
    except ValueError:
        prefix, name = parse_key(_MARK.sub("", key))
    parse_feed_name(name.feed)
    return prefix, name


def find_bundles(
    store: Store, prefix: str, span: Span | None = None, wanted: Callable[[str], bool] = lambda feed: True
) -> list[Archived]:
    """Return what is in the store of the wanted feeds, by feed and then time.

    With a span: the bundles that begin in it, and those that begin before and reach into it.
    """
    found: dict[tuple[str, int], list[Info]] = {}
    for info in _list(store, prefix, span):
        try:
            prefix_found, name = read_key(info.key)
        except ValueError:
            continue  # something else that lies in the store
        if prefix_found == prefix and wanted(name.feed) and (span is None or name.start < span.end):
            found.setdefault((name.feed, name.start), []).append(info)
    bundles = [Archived(feed, start, tuple(sorted(infos))) for (feed, start), infos in sorted(found.items())]
    return bundles if span is None else _within(store, bundles, span)


def read_manifests(store: Store, archived: Archived) -> list[Manifest]:
    """Return the manifests of a period, one a node; only the beginning of its objects is read. Raises BadBundle."""
    manifests: list[Manifest] = []
    for info in archived.objects:
        with open_bundle(store, info.key) as file:
            manifests += manifests_in(file, archived.feed, archived.start)
    return unite_manifests(manifests)


def manifests_beside(store: Store, archived: Archived, start: int) -> list[Manifest]:
    """Return the manifests of the period that begins at another time; none when they cannot be read."""
    found = find_beside(store, archived, start)
    return manifests_of(store, found) if found else []


def manifests_of(store: Store, archived: Archived) -> list[Manifest]:
    """Return the manifests of a period; none when they cannot be read, which is a problem of that bundle alone."""
    try:
        return read_current(store, archived, lambda current: read_manifests(store, current))
    except Unavailable:
        raise
    except AggregatorError:
        return []


@contextmanager
def open_bundle(store: Store, key: str) -> Iterator[Any]:
    """Open an object for the functions that read bundles. Raises NotFound."""
    with store.open_read(key) as reader:
        yield _Rereadable(reader)


def find_period(store: Store, prefix: str, feed: str, start: int) -> Archived | None:
    """Return what is in the store of one feed and period now; None when there is nothing."""
    name = BundleName(feed, start)
    infos = tuple(sorted(info for info in store.list(name.stem(prefix)) if _names(info.key, name)))
    return Archived(feed, start, infos) if infos else None


def find_beside(store: Store, archived: Archived, start: int) -> Archived | None:
    """Return what is in the store of the same feed and another period."""
    prefix, _ = read_key(archived.objects[0].key)
    return find_period(store, prefix, archived.feed, start)


def read_current(store: Store, archived: Archived, read: Callable[[Archived], T]) -> T:
    """Call `read` with a period; should an object change or go meanwhile, united with others, with what is there."""
    for _ in range(3):
        try:
            return read(archived)
        except (NotFound, Conflict):
            prefix, name = read_key(archived.objects[0].key)
            archived = find_period(store, prefix, name.feed, name.start) or archived
    return read(archived)


def _names(key: str, name: BundleName) -> bool:
    try:
        return read_key(key)[1][:2] == name[:2]
    except ValueError:
        return False


def _list(store: Store, prefix: str, span: Span | None) -> Iterator[Info]:
    folder = f"{prefix}/" if prefix else ""
    if span is None or span.end - span.start > _MANY_DAYS * DAY_S:
        yield from store.list(folder)
        return
    day = datetime.fromtimestamp(span.start // DAY_S * DAY_S, timezone.utc)
    while day.timestamp() < span.end:
        yield from store.list(f"{folder}{day:%Y-%m-%d}/")
        day += timedelta(days=1)


def _within(store: Store, bundles: list[Archived], span: Span) -> list[Archived]:
    """Leave out what begins too early and does not reach into the span."""
    last = {bundle.feed: bundle.start for bundle in bundles if bundle.start <= span.start}
    # what reaches in is longer than the time until the span; and it begins at a multiple of its length, as that divides
    # a day
    early = [bundle for bundle in bundles if 0 < span.start - bundle.start < gcd(bundle.start % DAY_S, DAY_S)]
    with ThreadPoolExecutor(READERS) as readers:
        ends = readers.map(lambda bundle: _end(store, bundle), early)
        reaching = [
            # of one that cannot be read the next one tells where it ended; whoever reads it says why it cannot be read
            bundle
            for bundle, end in zip(early, ends, strict=True)
            if (bundle.start == last[bundle.feed] if end is None else end > span.start)
        ]
    return sorted([*reaching, *(bundle for bundle in bundles if bundle.start >= span.start)])


def _end(store: Store, bundle: Archived) -> int | None:
    """Return when a bundle's period ends, None when it cannot be read."""
    try:
        manifests = read_current(store, bundle, lambda current: read_manifests(store, current))
    except Unavailable:
        raise
    except AggregatorError:
        return None
    return bundle.start + period_s_of(manifests)


def period_s_of(manifests: Iterable[Manifest]) -> int:
    """Return the seconds that a bundle covers; archives of the old program, without manifests, cover an hour."""
    return max((manifest.header.period_s for manifest in manifests), default=3600)


def manifests_in(file: Any, feed: str, start: int) -> Iterator[Manifest]:
    """Yield the manifests of a bundle, which stand before everything else. Raises BadBundle for those of others."""
    reader = ManifestReader()
    for entry in read_tar(Decompressed(file)):
        if not is_manifest_name(entry.name):
            return
        _, manifest = reader.read(entry)
        if (manifest.header.feed, manifest.header.start) != (feed, write_stamp(start)):
            raise BadBundle(f"{manifest.file_name} is of another bundle")
        yield manifest


class _Rereadable:
    """An object being read, with the one step back over its first bytes that telling its format takes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._last = self._again = b""

    def read(self, size: int) -> bytes:
        if self._again:
            piece, self._again = self._again[:size], self._again[size:]
            return piece
        self._last = bytes(self._stream.read(size))
        return self._last

    def seek(self, offset: int, whence: int) -> None:
        self._again = self._last[offset:]
