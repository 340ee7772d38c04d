"""Archives for tests: real bundles of real captures in real stores."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aggregator.feeds.bundle.manifest import Header, Manifest, Outcome, Tick, make_manifest
from aggregator.feeds.naming.bundles import BundleName
from aggregator.feeds.naming.publications import Publication
from aggregator.feeds.naming.stamps import write_stamp
from aggregator.stores import open_store
from aggregator.stores.store import Store
from tests.feeds.bundles import HOUR, MemoryBody, bundle
from tests.feeds.captures import subway_captures

TICK_MS = 60_000
CAPTURES = [(at, data) for at, data in subway_captures() if at >= HOUR + 3600]
"""Real captures of the hour from 13:00 on, a minute apart, the first of them 15 s after it began."""
START = HOUR + 3600


def folder_store(folder: Path) -> Store:
    """Return a store in a folder."""
    return open_store(f"file://{folder / 'store'}")


def published(feed: str = "nyct", captures: Iterable[tuple[int, bytes]] = CAPTURES) -> list[MemoryBody]:
    """Return captures as publications of a feed."""
    return [MemoryBody(Publication(feed, at, "pb").file_name, data, at) for at, data in captures]


def tick(number: int, outcome: Outcome = "same", *, start: int = START, **facts: object) -> Tick:
    """Return the nth tick of a period in which there is one a minute, 20 s after each minute began."""
    return Tick(planned_ms=start * 1000 + 20_000 + number * TICK_MS, outcome=outcome, **facts)  # type: ignore[arg-type]


def ticks_of(bodies: Iterable[MemoryBody]) -> list[Tick]:
    """Return the ticks that brought publications."""
    found = []
    for body in bodies:
        at = body.mtime
        number = (at - START) // 60
        facts = {"started_ms": at * 1000 + 5500, "sha256": body.member.sha256, "header_ms": at * 1000}
        found.append(tick(number, "ok", size_bytes=len(body.data), **facts))
    return found


def manifest(
    ticks: Iterable[Tick], feed: str = "nyct", node: str = "node", start: int = START, **header: object
) -> Manifest:
    """Return a node's manifest of an hour with a tick a minute."""
    facts = {"period_s": 3600, "tick_ms": TICK_MS, "url": f"https://example.org/{feed}.pb", **header}
    return make_manifest(Header(feed=feed, start=write_stamp(start), node=node, **facts), ticks)  # type: ignore[arg-type]


def store_bundle(
    store: Store,
    bodies: Iterable[MemoryBody],
    manifests: Iterable[Manifest] = (),
    *,
    feed: str = "nyct",
    start: int = START,
    prefix: str = "",
    format_name: str = "zst",
    mark: str = "",
) -> str:
    """Put a bundle into a store and return its key; a mark stands in the key before `.tar`."""
    name = BundleName(feed, start, format_name)
    key = name.key(prefix).replace(".tar.", f"{mark}.tar.")
    store.put(key, bundle(bodies, manifests, format_name))
    return key


def store_hour(store: Store, feed: str = "nyct", prefix: str = "") -> str:
    """Put the captures with their manifest into a store."""
    bodies = published(feed)
    return store_bundle(store, bodies, [manifest(ticks_of(bodies), feed)], feed=feed, prefix=prefix)
