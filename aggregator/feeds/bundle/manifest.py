"""Manifests: what one node saw of one feed in one bundle's period, every tick with its outcome, failures included.

A manifest is JSON lines: a header, then the ticks in the order in which they were planned. Equal contents give equal
bytes. Merging manifests is commutative, associative and idempotent, so those of several nodes and revisions can be
merged in any order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, get_args

import msgspec

from aggregator.errors import AggregatorError
from aggregator.feeds.naming.bundles import is_manifest_name, manifest_name
from aggregator.feeds.naming.feednames import parse_feed_name
from aggregator.feeds.naming.stamps import DAY_S, read_stamp

Outcome = Literal["ok", "same", "not_modified", "invalid", "failed", "late", "missed"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
"""All outcomes, the strongest evidence first: of two outcomes recorded for one tick, the earlier in this list wins."""

COVERED: tuple[Outcome, ...] = ("ok", "same", "not_modified")
"""The outcomes that tell for certain what the feed showed."""

VERSION = 1
LONGEST_NODE = 80
MIN_TICK_MS = 100
"""The shortest period that a feed may have."""
_SPARE_TICKS = 1000
"""How many more ticks a manifest may hold than its period has planned times, as each start adds one unplanned tick."""


class BadManifest(AggregatorError):
    """Do not trust this manifest: this program cannot have written it."""


class Tick(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One planned download. Times are Unix milliseconds; unknown fields are left out."""

    planned_ms: int
    outcome: Outcome
    started_ms: int | None = None
    ended_ms: int | None = None
    status: int | None = None
    """The HTTP status; None when no answer came."""
    wire_bytes: int | None = None
    """The bytes that came over the network, still compressed."""
    size_bytes: int | None = None
    sha256: str = ""
    """The hash of the body; a publication with this hash is a member of the bundle."""
    entities: str = ""
    """For GTFS-realtime: the hash of the entities without the header."""
    header_ms: int | None = None
    """The timestamp that the feed itself gave."""
    flags: tuple[str, ...] = ()
    """Remarks on a body that is kept although something about it is odd, such as `backwards` or `future`."""
    error: str = ""

    @property
    def fetched_ms(self) -> int:
        """When the download began, or when it was planned if the start is not known."""
        return self.started_ms if self.started_ms is not None else self.planned_ms


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a manifest: the feed, period and node of its ticks."""

    manifest: int = VERSION
    feed: str
    start: str
    """When the period begins, `yyyy-mm-ddThhmmssZ`."""
    node: str
    period_s: int
    tick_ms: int = 0
    """The feed's own period; 0 when it is not known."""
    url: str = ""
    """The address, with secrets masked."""
    instance: str | msgspec.UnsetType = msgspec.UNSET
    """The id of the instance that recorded the ticks: copies of an instance share a node name, but have different ids.
    The id's first characters are part of `node` too, so that the manifests of two copies stay apart."""
    elsewhere: tuple[Tick, ...] | msgspec.UnsetType = msgspec.UNSET
    """Ticks of other periods that brought publications of this period, as the feed's clock and the plan differ. Each is
    recorded in full in its own period; its copy here lets every publication have its record in the same bundle."""


class Manifest(msgspec.Struct, frozen=True):
    """A header and its ticks, ordered by `planned_ms`, each tick once."""

    header: Header
    ticks: tuple[Tick, ...]

    @property
    def elsewhere(self) -> tuple[Tick, ...]:
        """The ticks of other periods that brought publications of this period."""
        return self.header.elsewhere or ()

    @property
    def file_name(self) -> str:
        """The name of the manifest's member in the bundle."""
        return manifest_name(self.header.feed, read_stamp(self.header.start), self.header.node)

    def outcomes(self) -> dict[Outcome, int]:
        """Return how many ticks ended in each outcome; outcomes without a tick count 0."""
        counts = Counter(tick.outcome for tick in self.ticks)
        return {outcome: counts[outcome] for outcome in OUTCOMES}


# made at import: msgspec may crash when several threads are the first to read a struct
_HEADER = msgspec.json.Decoder(Header)
_TICK = msgspec.json.Decoder(Tick)


def make_manifest(header: Header, ticks: Iterable[Tick]) -> Manifest:
    """Return a manifest with its ticks in order. Raises BadManifest when the header's names cannot form a file name."""
    try:
        name = manifest_name(parse_feed_name(header.feed), read_stamp(header.start), header.node)
    except ValueError as error:
        raise BadManifest(
            f"bad feed or start in a manifest (found {header.feed[:80]!r}, {header.start[:80]!r})"
        ) from error
    if not is_manifest_name(name):
        raise BadManifest(f"bad node in a manifest (found {header.node[:80]!r})")
    return _arranged(header, ticks, header.elsewhere or ())


def source_name(node: str, instance: str) -> str:
    """Return a node's name in its manifests: with the first characters of its instance's id, when the id is known.

    Older versions take the result for a node name, so it has at most the 80 characters of one.
    """
    mark = instance[:8]
    return f"{node[: LONGEST_NODE - 1 - len(mark)]}.{mark}" if mark else node


def _arranged(header: Header, ticks: Iterable[Tick], elsewhere: Iterable[Tick]) -> Manifest:
    """Return a manifest in which each tick stands once: a tick of its own period is not in `elsewhere` too."""
    united = _unite_ticks(ticks)
    own = {tick.planned_ms for tick in united}
    others = tuple(tick for tick in _unite_ticks(elsewhere) if tick.planned_ms not in own)
    return Manifest(msgspec.structs.replace(header, elsewhere=others or msgspec.UNSET), united)


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of a manifest."""
    return msgspec.json.Encoder().encode_lines([manifest.header, *manifest.ticks])


def decode_manifest(data: bytes | bytearray) -> Manifest:
    """Read a manifest; unknown fields are dropped. Raises BadManifest."""
    end = data.find(b"\n") + 1 or len(data)
    try:
        header = _HEADER.decode(data[:end])
        _check_size(header, data.count(b"\n", end))
        ticks = _TICK.decode_lines(memoryview(data)[end:])
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadManifest(f"no manifest: {error}") from error
    if header.manifest != VERSION:
        raise BadManifest(f"a manifest of version {header.manifest}; this program knows version {VERSION}")
    return make_manifest(header, ticks)


def most_ticks(period_s: int) -> int:
    """Return how many ticks a manifest may have at most."""
    return period_s * 1000 // MIN_TICK_MS + _SPARE_TICKS


def _check_size(header: Header, ticks: int) -> None:
    """Raise BadManifest for a period that no bundle has, and for more ticks than the period can hold."""
    if not 0 <= header.period_s <= DAY_S or 0 < header.tick_ms < MIN_TICK_MS or header.tick_ms < 0:
        raise BadManifest(f"no manifest: a period of {header.period_s} s with a tick every {header.tick_ms} ms")
    if ticks > most_ticks(header.period_s):
        raise BadManifest(f"no manifest: {ticks} ticks in {header.period_s} s")


def bounded(manifest: Manifest) -> Manifest:
    """Return a manifest that passes the reader's limit on ticks: of too many, those with the strongest outcomes."""
    most = most_ticks(manifest.header.period_s)
    if len(manifest.ticks) <= most:
        return manifest
    kept = sorted(manifest.ticks, key=lambda tick: OUTCOMES.index(tick.outcome))[:most]
    return Manifest(manifest.header, _unite_ticks(kept))


def unite_manifests(manifests: Iterable[Manifest]) -> list[Manifest]:
    """Merge manifests to one for each node, ordered by node. Raises BadManifest if they differ in feed or period."""
    united: dict[str, Manifest] = {}
    subjects = set()
    for manifest in manifests:
        node = manifest.header.node
        subjects.add((manifest.header.feed, manifest.header.start))
        mine = united.get(node)
        united[node] = _unite(mine, manifest) if mine else manifest
    if len(subjects) > 1:
        raise BadManifest(f"manifests of different bundles: {', '.join(sorted(map(' '.join, subjects))[:3])}")
    return [united[node] for node in sorted(united)]


def _unite(one: Manifest, other: Manifest) -> Manifest:
    # Keep the header with the longer period, as it spans the ticks of both; else a choice that no order changes.
    headers = [msgspec.structs.replace(manifest.header, elsewhere=msgspec.UNSET) for manifest in (one, other)]
    header = max(headers, key=lambda header: (header.period_s, msgspec.json.encode(header)))
    return _arranged(header, (*one.ticks, *other.ticks), (*one.elsewhere, *other.elsewhere))


def _unite_ticks(ticks: Iterable[Tick]) -> tuple[Tick, ...]:
    best: dict[int, Tick] = {}
    for tick in ticks:
        rival = best.get(tick.planned_ms)
        if rival is None or _rank(tick) < _rank(rival):
            best[tick.planned_ms] = tick
    return tuple(best[planned_ms] for planned_ms in sorted(best))


def _rank(tick: Tick) -> tuple[int, bytes]:
    return OUTCOMES.index(tick.outcome), msgspec.json.encode(tick)
