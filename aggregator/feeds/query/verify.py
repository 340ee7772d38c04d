"""Read bundles in a store again, to the last byte, and say what is not as it should be.

Looked at: the object's recorded hash and the compression's own checksum; that it is the bundle its key names; that
every publication a manifest tells of is there, and that one tells of each; that publications can be parsed and carry
the time of their name.
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
"""Of one bundle; whoever damaged it so much did not do it a twenty-first time only."""


class Checked(NamedTuple):
    """One bundle that was read."""

    archived: Archived
    publications: int
    findings: tuple[str, ...]


def verify(
    store: Store, bundles: Sequence[Archived], parser_of: Callable[[str, str], Parser | None], now: float
) -> Iterator[Checked]:
    """Check bundles, several at a time, and yield what was found in each, in their order.

    `parser_of` is asked with a feed's name and a file extension; None means that nobody knows how to read it. `now`
    (Unix seconds) tells which periods may still be on their way into the store.
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
    """Which publications the manifests of a feed tell of, wherever in the store; read when first asked for."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._hashes: dict[tuple[str, str], set[int]] = {}
        self._lock = threading.Lock()

    def drop(self, untold: dict[str, str], archived: Archived) -> dict[str, str]:
        """Remove the publications that a manifest of their feed tells of, and return what is left."""
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
    """Return the beginning of a hash, in little memory: a feed of ten years has a hundred million."""
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
                    # to the object's end, where its reader compares the recorded hash
                    contents = read_bundle(file, spool)
                found = [*_of_another(archived, contents), *check_contents(contents)]
                found += [line for body in contents.bodies if (line := _unreadable(archived, body, parser_of))]
        except (NotFound, Conflict):
            raise
        except AggregatorError as error:
            found = [str(error)]
        else:
            publications += len(contents.bodies)
            # an archive of the old program, which wrote no manifests
            if contents.manifests or not info.key.endswith(".bz2"):
                read.append(contents)
        findings += [f"{info.key}: {line}" for line in found[:_MAX_FINDINGS]]
        if len(found) > _MAX_FINDINGS:
            findings.append(f"{info.key}: and {len(found) - _MAX_FINDINGS} more")
    findings += _untold(store, archived, read, told, now)
    return Checked(archived, publications, tuple(findings))


def _of_another(archived: Archived, contents: Contents) -> Iterator[str]:
    """Yield what in a bundle is not of the feed and the period that its key names."""
    stamp = write_stamp(archived.start)
    for manifest in contents.manifests:
        if (manifest.header.feed, manifest.header.start) != (archived.feed, stamp):
            yield f"{manifest.file_name} is of another bundle"
    period_s = max((manifest.header.period_s for manifest in contents.manifests), default=0)
    for member in contents.publications:
        try:
            publication = parse_publication(member.name)
        except ValueError:
            continue  # a name of the old program's
        if publication.feed != archived.feed:
            yield f"{member.name} is of another feed"
        elif period_s and not 0 <= publication.published_at - archived.start < period_s:
            yield f"{member.name} is of another period"


def _untold(store: Store, archived: Archived, read: Sequence[Contents], told: _Told, now: float) -> Iterator[str]:
    """Yield publications of which no manifest tells: one was changed, or went.

    A bundle tells of all its publications itself. Those of older versions did not: there the tick stands in the bundle
    of the period in which it was planned. That is mostly the next one, which is given a period's time to be stored; of
    a feed whose clock is wrong, or that publishes rarely, it may be any.
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
    """Remove the publications of which a tick tells, and return what is left."""
    for manifest in manifests:
        for tick in (*manifest.ticks, *manifest.elsewhere):
            untold.pop(tick.sha256, None)
    return untold


def _is_far(tick: Tick, period_s: int) -> bool:
    return tick.header_ms is not None and abs(tick.header_ms - tick.planned_ms) > period_s * 1000


def _unreadable(archived: Archived, body: SpooledBody, parser_of: Callable[[str, str], Parser | None]) -> str:
    """Return what is wrong with a publication; empty when it can be read and is of its time."""
    name = body.member.name
    try:
        publication = parse_publication(name)
    except ValueError:
        return ""  # a name of the old program's
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
