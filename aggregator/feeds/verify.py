"""Read bundles in a store again, to the last byte, and say what is not as it should be.

Looked at: the object's recorded hash and the compression's own checksum; that it is the bundle its key names; that
every publication a manifest tells of is there; that publications can be parsed and carry the time of their name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import msgspec

from aggregator.errors import AggregatorError
from aggregator.feeds.bundle import Contents, check_contents, read_bundle
from aggregator.feeds.catalogue import READERS, Archived, open_bundle, read_current
from aggregator.feeds.compression import PIECE
from aggregator.feeds.layout import parse_publication, write_stamp
from aggregator.feeds.members import SpooledBody
from aggregator.feeds.timestamps import CLOCKLESS, Corrupt, Fetched, Reader, read_gtfs_realtime, resolve
from aggregator.feeds.xmltext import find_texts
from aggregator.stores.store import Conflict, NotFound, Store

_MAX_FINDINGS = 20
"""Of one bundle; whoever damaged it so much did not do it a twenty-first time only."""


class Checked(NamedTuple):
    """One bundle that was read."""

    archived: Archived
    publications: int
    findings: tuple[str, ...]


class Parser(NamedTuple):
    """How the publications of a feed are read again."""

    read: Reader
    tells_time: bool
    """True when what it returns is the time in the publication's name."""


def verify(
    store: Store, bundles: Sequence[Archived], parser_of: Callable[[str, str], Parser | None]
) -> Iterator[Checked]:
    """Check bundles, several at a time, and yield what was found in each, in their order.

    `parser_of` is asked with a feed's name and a file extension; None means that nobody knows how to read it.
    """

    def check(bundle: Archived) -> Checked:
        try:
            return read_current(store, bundle, lambda current: _check(store, current, parser_of))
        except AggregatorError as error:
            return Checked(bundle, 0, (str(error),))

    readers = ThreadPoolExecutor(READERS)
    try:
        yield from readers.map(check, bundles)
    finally:
        readers.shutdown(cancel_futures=True)


def known_parser(timestamp: str, root: Path) -> Parser | None:
    """Return the parser for a feed's `timestamp` option; None for those that do not look into the body."""
    return None if timestamp in CLOCKLESS else Parser(resolve(timestamp, root), True)


def guessed_parser(extension: str) -> Parser | None:
    """Return the parser for a file extension alone."""
    return _BY_EXTENSION.get(extension.lower())


def _check(store: Store, archived: Archived, parser_of: Callable[[str, str], Parser | None]) -> Checked:
    findings: list[str] = []
    publications = 0
    for info in archived.objects:
        try:
            with tempfile.TemporaryFile(prefix="aggregator-verify-") as spool:
                with open_bundle(store, info.key) as file:
                    contents = read_bundle(file, spool)
                    # to the object's end, where its reader compares the recorded hash
                    while file.read(PIECE):
                        pass
                found = [*_of_another(archived, contents), *check_contents(contents)]
                found += [line for body in contents.bodies if (line := _unreadable(archived, body, parser_of))]
        except (NotFound, Conflict):
            raise
        except AggregatorError as error:
            found = [str(error)]
        else:
            publications += len(contents.bodies)
        findings += [f"{info.key}: {line}" for line in found[:_MAX_FINDINGS]]
        if len(found) > _MAX_FINDINGS:
            findings.append(f"{info.key}: and {len(found) - _MAX_FINDINGS} more")
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


def _read_json(fetched: Fetched) -> int:
    try:
        msgspec.json.decode(fetched.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"no JSON: {error}") from error
    return 0


def _read_xml(fetched: Fetched) -> int:
    try:
        find_texts(fetched.body, lambda path: False)
    except ValueError as error:
        raise Corrupt(str(error)) from error
    return 0


_BY_EXTENSION = {
    "pb": Parser(read_gtfs_realtime, True),
    "pbf": Parser(read_gtfs_realtime, True),
    "gtfsrt": Parser(read_gtfs_realtime, True),
    "json": Parser(_read_json, False),
    "geojson": Parser(_read_json, False),
    "xml": Parser(_read_xml, False),
    "rss": Parser(_read_xml, False),
    "atom": Parser(_read_xml, False),
}
