"""Bundles for tests: publications in memory, real captures, and manifests."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from aggregator.feeds.bundle.bundles import read_bundle, write_bundle
from aggregator.feeds.bundle.manifest import Header, Manifest, Tick, make_manifest
from aggregator.feeds.bundle.members import Member
from aggregator.feeds.naming.publications import Publication
from aggregator.feeds.naming.stamps import write_stamp
from tests.feeds.captures import subway_captures

HOUR = 1707393600
"""2024-02-08 12:00 UTC; the first capture is of its last minute."""


class MemoryBody(NamedTuple):
    """A publication that exists only in a test."""

    name: str
    data: bytes
    mtime: int = HOUR

    @property
    def member(self) -> Member:
        return Member(self.name, self.mtime, len(self.data), hashlib.sha256(self.data).hexdigest())

    def pieces(self) -> Iterator[bytes]:
        yield self.data


def body(at: int, data: bytes, *, feed: str = "nyct", is_variant: bool = False) -> MemoryBody:
    """Return a publication of a feed at a moment, under its plain name or as a variant."""
    variant = hashlib.sha256(data).hexdigest()[:8] if is_variant else ""
    return MemoryBody(Publication(feed, at, "pb", variant).file_name, data)


def subway_bodies() -> list[MemoryBody]:
    """Return 12 real captures as publications."""
    return [body(at, data) for at, data in subway_captures()]


def manifest(node: str, ticks: Iterable[Tick], feed: str = "nyct", start: int = HOUR) -> Manifest:
    """Return a node's manifest."""
    return make_manifest(Header(feed=feed, start=write_stamp(start), node=node, period_s=3600, tick_ms=14000), ticks)


def bundle(
    bodies: Iterable[MemoryBody], manifests: Iterable[Manifest] = (), format_name: str = "zst", level: str = "default"
) -> bytes:
    """Return a bundle's bytes."""
    target = io.BytesIO()
    write_bundle(target, bodies, manifests, format_name, level)  # type: ignore[arg-type]
    return target.getvalue()


def contents(data: bytes) -> dict[str, bytes]:
    """Return the publications of a bundle, in its order."""
    spool = io.BytesIO()
    return {held.member.name: b"".join(held.pieces()) for held in read_bundle(io.BytesIO(data), spool).bodies}
