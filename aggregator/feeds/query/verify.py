"""Read bundles in a store again, to the last byte, and report errors.

The checks: the object's hash matches the recorded hash, and its compressed data the checksum in it; the bundle is of
the feed and period in its key; every publication recorded in a manifest is there, and every publication is recorded in
a manifest; publications can be parsed, and their time is the time in their name.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from aggregator.errors import AggregatorError
from aggregator.feeds.bundle.bundles import Contents, check_contents, read_bundle
from aggregator.feeds.bundle.manifest import Manifest, Tick
from aggregator.feeds.bundle.members import SpooledBody
from aggregator.feeds.naming.publications import is_publication_name, parse_publication
from aggregator.feeds.naming.stamps import write_stamp
from aggregator.feeds.query.catalogue import (
    READERS,
    Archived,
    find_beside,
    find_bundles,
    manifests_beside,
    manifests_of,
    open_bundle,
    period_s_of,
    read_current,
    read_key,
)
from aggregator.feeds.query.verifyparsers import Parser
from aggregator.feeds.reading.fetched import Corrupt, Fetched
from aggregator.stores.store import Conflict, NotFound, Store

_MAX_FINDINGS = 20
"""The most findings of each kind that are listed for one object; further ones are only counted."""


class Checked(NamedTuple):
    """One bundle that was checked."""

    archived: Archived
    publications: int
    findings: tuple[str, ...]


def verify(
    store: Store, bundles: Sequence[Archived], parser_of: Callable[[str, str], Parser | None], now: float
) -> Iterator[Checked]:
    """Check bundles, several at a time, and yield the findings of each, in the order of the bundles.

    `parser_of` gets a feed's name and a file extension; it returns None when no parser is known. `now` (Unix seconds)
    tells which periods may still be on their way into the store.
    """

    told = _Told(store)

    def check(bundle: Archived) -> Checked:
        try:
            return read_current(store, bundle, lambda current: _check(store, current, parser_of, told, now))
        except AggregatorError as error:
            return Checked(bundle, 0, (str(error),))

    readers = ThreadPoolExecutor(READERS)
    try:
        yield from readers.map(check, bundles)
    finally:
        readers.shutdown(cancel_futures=True)


class _Told:
    """The publications recorded in all manifests of a feed in the store; they are read when first asked for."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._hashes: dict[tuple[str, str], set[int]] = {}
        self._lock = threading.Lock()

    def drop(self, untold: dict[str, str], archived: Archived) -> dict[str, str]:
        """Remove the publications that any manifest of their feed records, and return the rest."""
        prefix, _ = read_key(archived.objects[0].key)
        with self._lock:
            if (prefix, archived.feed) not in self._hashes:
                self._hashes[prefix, archived.feed] = self._read(prefix, archived.feed)
            hashes = self._hashes[prefix, archived.feed]
        return {sha256: name for sha256, name in untold.items() if _short(sha256) not in hashes}

    def _read(self, prefix: str, feed: str) -> set[int]:
        hashes: set[int] = set()
        for bundle in find_bundles(self.store, prefix, None, lambda name: name == feed):
            for manifest in manifests_of(self.store, bundle):
                hashes.update(_short(tick.sha256) for tick in manifest.ticks if tick.sha256)
        return hashes


def _short(sha256: str) -> int:
    """Return the beginning of a hash as a number, to save memory: a feed of ten years has a hundred million hashes."""
    return int(sha256[:16], 16)


def _check(
    store: Store, archived: Archived, parser_of: Callable[[str, str], Parser | None], told: _Told, now: float
) -> Checked:
    findings: list[str] = []
    publications = 0
    read: list[Contents] = []
    for info in archived.objects:
        try:
            with tempfile.TemporaryFile(prefix="aggregator-verify-") as spool:
                with open_bundle(store, info.key) as file:
                    # read to the object's end, where the store's reader compares the recorded hash
                    contents = read_bundle(file, spool)
                found = [*_of_another(archived, contents), *check_contents(contents)]
                found += [line for body in contents.bodies if (line := _unreadable(archived, body, parser_of))]
        except (NotFound, Conflict):
            raise
        except AggregatorError as error:
            found = [str(error)]
        else:
            publications += len(contents.bodies)
            # not an archive of the old program, which wrote no manifests
            if contents.manifests or not info.key.endswith(".bz2"):
                read.append(contents)
        findings += [f"{info.key}: {line}" for line in found[:_MAX_FINDINGS]]
        if len(found) > _MAX_FINDINGS:
            findings.append(f"{info.key}: and {len(found) - _MAX_FINDINGS} more")
    findings += _untold(store, archived, read, told, now)
    return Checked(archived, publications, tuple(findings))


def _of_another(archived: Archived, contents: Contents) -> Iterator[str]:
    """Yield a line for each member of another feed or period than the bundle's key names."""
    stamp = write_stamp(archived.start)
    for manifest in contents.manifests:
        if (manifest.header.feed, manifest.header.start) != (archived.feed, stamp):
            yield f"{manifest.file_name} is of another bundle"
    period_s = max((manifest.header.period_s for manifest in contents.manifests), default=0)
    for member in contents.publications:
        try:
            publication = parse_publication(member.name)
        except ValueError:
            continue  # a file name of the old program
        if publication.feed != archived.feed:
            yield f"{member.name} is of another feed"
        elif period_s and not 0 <= publication.published_at - archived.start < period_s:
            yield f"{member.name} is of another period"


def _untold(store: Store, archived: Archived, read: Sequence[Contents], told: _Told, now: float) -> Iterator[str]:
    """Yield a line for each publication that no manifest records: a manifest is missing or was changed.

    A bundle records all its publications itself. In bundles of older versions a publication may be recorded elsewhere:
    in the bundle of the period in which its tick was planned. Mostly that is the next period, whose bundle is given one
    period's time to be stored. For a feed with a wrong clock, or with rare publications, it may be any period.
    """
    manifests = [manifest for contents in read for manifest in contents.manifests]
    members = [member for contents in read for member in contents.publications]
    untold = {member.sha256: member.name for member in members if is_publication_name(member.name)}
    if not _drop_told(untold, manifests):
        return
    period_s = period_s_of(manifests)
    for start in (archived.start - period_s, archived.start + period_s):
        manifests += manifests_beside(store, archived, start)
    ticks = [tick for manifest in manifests for tick in manifest.ticks if tick.header_ms is not None]
    if not _drop_told(untold, manifests) or any(_is_far(tick, period_s) for tick in ticks):
        return
    if now < archived.start + 3 * period_s and not find_beside(store, archived, archived.start + period_s):
        return
    untold = told.drop(untold, archived)
    key = archived.objects[0].key
    yield from [f"{key}: no manifest tells of {name}" for name in sorted(untold.values())[:_MAX_FINDINGS]]
    if len(untold) > _MAX_FINDINGS:
        yield f"{key}: nor of {len(untold) - _MAX_FINDINGS} more"


def _drop_told(untold: dict[str, str], manifests: Iterable[Manifest]) -> dict[str, str]:
    """Remove the publications that a tick records, and return the rest."""
    for manifest in manifests:
        for tick in (*manifest.ticks, *manifest.elsewhere):
            untold.pop(tick.sha256, None)
    return untold


def _is_far(tick: Tick, period_s: int) -> bool:
    return tick.header_ms is not None and abs(tick.header_ms - tick.planned_ms) > period_s * 1000


def _unreadable(archived: Archived, body: SpooledBody, parser_of: Callable[[str, str], Parser | None]) -> str:
    """Return the fault of a publication; empty when it can be read and has the time that is in its name."""
    name = body.member.name
    try:
        publication = parse_publication(name)
    except ValueError:
        return ""  # a file name of the old program
    parser = parser_of(archived.feed, publication.extension)
    if parser is None:
        return ""
    try:
        moment = parser.read(Fetched(b"".join(body.pieces()), {}, publication.published_at))
    except Corrupt as error:
        return f"{name} cannot be read: {error}"
    if parser.tells_time and int(moment) != publication.published_at:
        return f"{name} says it is of {write_stamp(moment)}"
    return ""
