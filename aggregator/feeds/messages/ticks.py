"""What the stages of feeds hand on, and the tick that circulates: one struct for each kind of message.

A message says what it is: `"kind": "downloaded"`. A stage takes its own kinds only, so a queue with the wrong messages
in it, swapped with another for example, sends them to the dead letters as they are. Messages that were written before
there were kinds have none: each is of the kind that the stage which reads it, and its keys, tell.

Whatever a message says is looked at when it arrives, as anybody who may push to Redis may have written it: types,
ranges, and names, which become names of files. What is opened or executed because of a feed is never said by a message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from aggregator.config.hints import shorten
from aggregator.errors import Reject
from aggregator.feeds.bundle.manifest import MIN_TICK_MS, Tick
from aggregator.feeds.naming.layout import (
    is_feed_name,
    is_node_name,
    parse_download,
    parse_extension,
    parse_publication,
)
from aggregator.feeds.reading.dates import YEAR_10000

LONGEST_ROW = 1_000_000
"""Ticks missed in a row that one message may tell of: eleven days of a tick every second."""
LONGEST_ROW_MS = 31 * 86_400_000
"""And the time they may span: each bundle in it gets a record of its own."""
LONGEST_PERIOD_MS = 7 * 86_400_000
MOST_BYTES = 1_000_000
"""No message of ours comes near: headers are cut, addresses and errors bounded."""

_SHA256 = re.compile("[0-9a-f]{64}")
_INSTANCE = re.compile("[A-Za-z0-9_-]{1,64}", re.ASCII)
_T = TypeVar("_T", bound=msgspec.Struct)

Moment = Annotated[int, msgspec.Meta(ge=0, lt=YEAR_10000 * 1000)]
"""Unix milliseconds."""
Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
Period = Annotated[int, msgspec.Meta(ge=MIN_TICK_MS, le=LONGEST_PERIOD_MS)]
"""How often a feed is downloaded, in milliseconds."""


class Kind(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """A message; the `tag` of its class is what it says under `kind`."""


class Validators(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the last whole answer said of itself, to be asked whether there is something newer."""

    url: str
    """A hash of the source it belongs to: the address, and what the configuration says of it."""
    etag: str = ""
    modified: str = ""
    sha: str = ""
    """How the SHA-256 of the body begins that they came with: 16 digits."""


class DueTick(Kind, frozen=True, omit_defaults=True, kw_only=True, tag="due"):
    """The next download of a feed. There is one of these for each feed, and it carries the feed's state."""

    feed: str
    planned_ms: Moment
    chain: Moment = 0
    """When the feed's first tick was sent, in Unix milliseconds; of two ticks of a feed the younger chain stands."""
    failures: Count = 0
    """In a row."""
    wait_until_ms: Moment = 0
    """Ticks planned before this are not tried."""
    why: str = ""
    """Why they are not."""
    failing: str = ""
    """A hash of the source that these three are about."""
    kills: Count = 0
    """How often a worker vanished while it held this tick."""
    validators: Validators | None = None
    once: bool = False
    """True for a download beside the planned ones: no other tick follows it."""

    def __post_init__(self) -> None:
        check_feed(self.feed)


class Downloaded(Kind, frozen=True, omit_defaults=True, kw_only=True, tag="downloaded"):
    """What became of a tick, or of a row of missed ones, and what its feed was configured as then."""

    feed: str
    url: str
    """With secrets hidden."""
    period_ms: Period
    extension: str
    timestamp: str
    format: str
    stale_after_ms: Count = 0
    tick: Tick | None = None
    """`ok` means here: a body has come. Whether it is a publication is the filter's to say."""
    file: str = ""
    """The body, from the instance's folder; empty when none came."""
    headers: Mapping[str, str] = {}
    final_url: str = ""
    """Where redirects led to, when they did."""
    missed_from_ms: Moment | None = None
    missed_to_ms: Moment | None = None
    found: bool = False
    """True for a body that lay there without a message: this one was made from what is known of it."""

    def __post_init__(self) -> None:
        check_feed(self.feed)
        try:
            parse_extension(self.extension)
        except ValueError:
            raise ValueError(f"bad extension (found {shorten(self.extension)})") from None
        if self.tick is None:
            check_row(self.missed_from_ms, self.missed_to_ms, self.period_ms)
            return
        check_tick(self.tick)
        if (self.tick.outcome == "ok") != bool(self.file):
            raise ValueError(f"a tick with outcome {self.tick.outcome} and file {shorten(self.file)}")
        if self.file:
            _check_download(self, self.tick)


class Filtered(Kind, frozen=True, kw_only=True, tag="filtered"):
    """What the filter tells of a tick."""

    feed: str
    tick: Tick
    publication: str
    """The name of its file; empty when the tick brought no new publication."""
    published_ms: Moment | None
    url: str
    period_ms: Period
    node: str
    instance: str = ""
    """The id of the instance that this node was, empty where nobody knows."""

    def __post_init__(self) -> None:
        check_feed(self.feed)
        check_node(self.node)
        check_instance(self.instance)
        check_tick(self.tick)
        if not self.publication:
            return
        publication = parse_publication(self.publication)
        if publication.feed != self.feed:
            raise ValueError(f"no publication of {shorten(self.feed)} (found {shorten(self.publication)})")
        if self.published_ms is None or publication.published_at != self.published_ms // 1000:
            raise ValueError(f"{shorten(self.publication)} is of another time than published_ms {self.published_ms}")


class Missed(Kind, frozen=True, kw_only=True, tag="missed"):
    """Ticks missed in a row: one every `period_ms`, from the first to the last, both included."""

    feed: str
    missed_from_ms: Moment
    missed_to_ms: Moment
    url: str
    period_ms: Period
    node: str
    instance: str = ""
    """The id of the instance that this node was, empty where nobody knows."""

    def __post_init__(self) -> None:
        check_feed(self.feed)
        check_node(self.node)
        check_instance(self.instance)
        check_row(self.missed_from_ms, self.missed_to_ms, self.period_ms)


def check_feed(name: str) -> None:
    """Raise ValueError for what no feed can be called."""
    if not is_feed_name(name):
        raise ValueError(f"no feed's name (found {shorten(name)})")


def check_node(name: str) -> None:
    """Raise ValueError for what no node can be called."""
    if not is_node_name(name):
        raise ValueError(f"no node's name (found {shorten(name)}); allowed: letters, digits, _ . - (at most 80)")


def check_instance(text: str) -> None:
    """Raise ValueError for what is no id of an instance."""
    if text and not _INSTANCE.fullmatch(text):
        raise ValueError(f"no id of an instance (found {shorten(text)})")


def check_row(first_ms: int | None, last_ms: int | None, period_ms: int) -> None:
    """Raise ValueError for what is no row of missed ticks."""
    if first_ms is None or last_ms is None or first_ms > last_ms:
        raise ValueError("neither a tick nor a row of missed ones: needs `tick`, or missed_from_ms up to missed_to_ms")
    if (last_ms - first_ms) // period_ms >= LONGEST_ROW:
        raise ValueError(f"a row of more than {LONGEST_ROW} missed ticks")
    if last_ms - first_ms > LONGEST_ROW_MS:
        raise ValueError(f"a row of missed ticks over more than {LONGEST_ROW_MS // 86_400_000} days")


def check_tick(tick: Tick) -> None:
    """Raise ValueError for a tick that no download can have had."""
    for name in ("planned_ms", "started_ms", "ended_ms", "header_ms"):
        moment = getattr(tick, name)
        if moment is not None and not 0 <= moment < YEAR_10000 * 1000:
            raise ValueError(f"no time between 1970 and 9999 in {name} (found {moment})")
    for name in ("status", "wire_bytes", "size_bytes"):
        number = getattr(tick, name)
        if number is not None and not 0 <= number < 1 << 53:
            raise ValueError(f"no size or number in {name} (found {number})")
    if tick.sha256:
        check_sha256(tick.sha256)
    if len(tick.flags) > 20 or any(len(flag) > 40 for flag in tick.flags):
        raise ValueError("more or longer flags than there are")


def check_sha256(text: str) -> None:
    """Raise ValueError for what is no SHA-256 in hexadecimal digits."""
    if not _SHA256.fullmatch(text):
        raise ValueError(f"no SHA-256 (found {shorten(text)})")


def _check_download(told: Downloaded, tick: Tick) -> None:
    """Raise ValueError unless the file is named as the body of this tick is."""
    check_sha256(tick.sha256)
    named = parse_download(told.file.rpartition("/")[2])
    if named != (told.feed, tick.planned_ms, tick.sha256[:8], told.extension):
        raise ValueError(f"no file of this tick's body (found {shorten(told.file, 200)})")


class _Head(msgspec.Struct):
    """What tells which message this is: its kind, or the keys that older ones had."""

    kind: str | msgspec.UnsetType = msgspec.UNSET
    close: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    clear: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    remove: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    unite: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    missed_from_ms: Any = None


def decode(raw: bytes, *kinds: type[_T]) -> _T:
    """Return a message of one of these kinds. Raises Reject when it is none of them, or says what cannot be.

    One without a kind is of the kind that its keys tell, else of the first of these kinds.
    """
    if len(raw) > MOST_BYTES:
        raise Reject(f"a message of {len(raw)} bytes; no message of feeds has more than {MOST_BYTES}")
    wanted = kinds[0]
    try:
        wanted, body = _kind_of(raw, kinds)
        return msgspec.json.decode(body, type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Reject(f"no {wanted.__name__}: {error} (found {raw[:60]!r})") from error


def _kind_of(raw: bytes, kinds: tuple[type[_T], ...]) -> tuple[type[_T], bytes | msgspec.Raw]:
    """Return which message this is, and its body: orders of older versions stand under their kind."""
    head = msgspec.json.decode(raw, type=_Head)
    by_tag = {str(kind.__struct_config__.tag): kind for kind in kinds}
    if head.kind is not msgspec.UNSET:
        if head.kind not in by_tag:
            raise Reject(
                f"a message of kind {shorten(head.kind)} in a queue of {' and '.join(by_tag)}: were two queues "
                "swapped? Nothing was done with it; put it into the queue of the stage that takes this kind"
            )
        return by_tag[head.kind], raw
    for tag in ("close", "clear", "remove", "unite"):
        body = getattr(head, tag)
        if tag in by_tag and body is not msgspec.UNSET:
            return by_tag[tag], body
    if "missed" in by_tag and head.missed_from_ms is not None:
        return by_tag["missed"], raw
    return kinds[0], raw


def encode(message: msgspec.Struct) -> bytes:
    """Return the body of a message."""
    return msgspec.json.encode(message)
