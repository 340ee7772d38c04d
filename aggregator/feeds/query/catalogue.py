"""List which bundles a store holds for each feed and period, under all possible keys and in all formats.

One period may be stored in several objects: an archive of the old program beside one of ours, or, in a store without
conditional writes, several objects whose keys name their contents. All objects of a period are read as one bundle, the
union of their contents.
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
"""How many objects are read at the same time."""

_MANY_DAYS = 400
"""Above this number of days one listing of everything is quicker than one listing for each day."""
_MARK = re.compile(r"[-.~+](?:r\d+|[0-9a-f]{8,64})(?=\.tar\.[a-z0-9]+$)", re.ASCII)
"""The mark in a key: the revision of a local bundle, or the contents' hash in a store without conditional writes."""


class Span(NamedTuple):
    """A time range in Unix seconds, without its end."""

    start: int
    end: int


class Archived(NamedTuple):
    """One feed and period in a store."""

    feed: str
    start: int
    objects: tuple[Info, ...]
    """The objects of the period, ordered by key: mostly one."""

    @property
    def size_bytes(self) -> int:
        """The size of all objects of the period together."""
        return sum(info.size for info in self.objects)


def read_key(key: str) -> tuple[str, BundleName]:
    """Return the prefix and the bundle that a key names, even if the key has a mark. Raises ValueError."""
    try:
        prefix, name = parse_key(key)
    except ValueError:
        prefix, name = parse_key(_MARK.sub("", key))
    parse_feed_name(name.feed)
    return prefix, name


def find_bundles(
    store: Store, prefix: str, span: Span | None = None, wanted: Callable[[str], bool] = lambda feed: True
) -> list[Archived]:
    """Return the bundles of the wanted feeds in the store, ordered by feed and then time.

    With a span, only bundles that begin in the span, or begin before and reach into it, are returned.
    """
    found: dict[tuple[str, int], list[Info]] = {}
    for info in _list(store, prefix, span):
        try:
            prefix_found, name = read_key(info.key)
        except ValueError:
            continue  # some other object in the store
        if prefix_found == prefix and wanted(name.feed) and (span is None or name.start < span.end):
            found.setdefault((name.feed, name.start), []).append(info)
    bundles = [Archived(feed, start, tuple(sorted(infos))) for (feed, start), infos in sorted(found.items())]
    return bundles if span is None else _within(store, bundles, span)


def read_manifests(store: Store, archived: Archived) -> list[Manifest]:
    """Return the manifests of a period, one for each node, from the beginning of its objects. Raises BadBundle."""
    manifests: list[Manifest] = []
    for info in archived.objects:
        with open_bundle(store, info.key) as file:
            manifests += manifests_in(file, archived.feed, archived.start)
    return unite_manifests(manifests)


def manifests_beside(store: Store, archived: Archived, start: int) -> list[Manifest]:
    """Return the manifests of the same feed's period at another start; none when they cannot be read."""
    found = find_beside(store, archived, start)
    return manifests_of(store, found) if found else []


def manifests_of(store: Store, archived: Archived) -> list[Manifest]:
    """Return the manifests of a period; none when they cannot be read, which concerns that bundle alone."""
    try:
        return read_current(store, archived, lambda current: read_manifests(store, current))
    except Unavailable:
        raise
    except AggregatorError:
        return []


@contextmanager
def open_bundle(store: Store, key: str) -> Iterator[Any]:
    """Open an object so that it can be read as a bundle. Raises NotFound."""
    with store.open_read(key) as reader:
        yield _Rereadable(reader)


def find_period(store: Store, prefix: str, feed: str, start: int) -> Archived | None:
    """Return the objects of one feed and period that are in the store now; None when there are none."""
    name = BundleName(feed, start)
    infos = tuple(sorted(info for info in store.list(name.stem(prefix)) if _names(info.key, name)))
    return Archived(feed, start, infos) if infos else None


def find_beside(store: Store, archived: Archived, start: int) -> Archived | None:
    """Return the objects in the store of the same feed and another period; None when there are none."""
    prefix, _ = read_key(archived.objects[0].key)
    return find_period(store, prefix, archived.feed, start)


def read_current(store: Store, archived: Archived, read: Callable[[Archived], T]) -> T:
    """Call `read` with a period; if an object was merged or removed meanwhile, repeat with the objects there now."""
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
    """Leave out bundles that end before the span."""
    last = {bundle.feed: bundle.start for bundle in bundles if bundle.start <= span.start}
    # A bundle that reaches into the span is longer than the time from its start to the span. Its start is a multiple of
    # its length, as lengths divide a day, so the length is at most gcd(start, day).
    early = [bundle for bundle in bundles if 0 < span.start - bundle.start < gcd(bundle.start % DAY_S, DAY_S)]
    with ThreadPoolExecutor(READERS) as readers:
        ends = readers.map(lambda bundle: _end(store, bundle), early)
        reaching = [
            # An unreadable bundle has no known end: keep it if it is its feed's last one up to the span's start. The
            # code that reads it later reports the error.
            bundle
            for bundle, end in zip(early, ends, strict=True)
            if (bundle.start == last[bundle.feed] if end is None else end > span.start)
        ]
    return sorted([*reaching, *(bundle for bundle in bundles if bundle.start >= span.start)])


def _end(store: Store, bundle: Archived) -> int | None:
    """Return when a bundle's period ends; None when the bundle cannot be read."""
    try:
        manifests = read_current(store, bundle, lambda current: read_manifests(store, current))
    except Unavailable:
        raise
    except AggregatorError:
        return None
    return bundle.start + period_s_of(manifests)


def period_s_of(manifests: Iterable[Manifest]) -> int:
    """Return how many seconds a bundle covers; archives of the old program have no manifests and cover an hour."""
    return max((manifest.header.period_s for manifest in manifests), default=3600)


def manifests_in(file: Any, feed: str, start: int) -> Iterator[Manifest]:
    """Yield the manifests of a bundle, its first members. Raises BadBundle for a manifest of another bundle."""
    reader = ManifestReader()
    for entry in read_tar(Decompressed(file)):
        if not is_manifest_name(entry.name):
            return
        _, manifest = reader.read(entry)
        if (manifest.header.feed, manifest.header.start) != (feed, write_stamp(start)):
            raise BadBundle(f"{manifest.file_name} is of another bundle")
        yield manifest


class _Rereadable:
    """A stream of an object that can go back once over its first bytes, as needed to recognize the format."""

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
