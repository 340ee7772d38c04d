"""When was this published? One answer for each kind of feed, taken from the feed and never from our clock.

A `Reader` is given what was fetched and returns Unix seconds, with a fraction when the feed has one. It reads the whole
body, so that a cut or damaged one is found out, and raises `Corrupt` when there is no time to be had.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from aggregator.config.hints import meant, shorten
from aggregator.errors import AggregatorError
from aggregator.feeds.reading.dates import check_distance, check_moment, read_moment
from aggregator.feeds.reading.jsonpointer import Step, plain_value
from aggregator.feeds.reading.protobuf import BadMessage, Fields, Parser, gtfs_realtime
from aggregator.feeds.reading.xmltext import find_texts, path_matcher
from aggregator.registry import load_module


class Corrupt(AggregatorError):
    """Keep this body out of the publications: it is not what its feed promises. The text says why."""


class Fetched(NamedTuple):
    """What one download brought."""

    body: bytes
    headers: Mapping[str, str]
    fetched_at: float
    """When the answer began to arrive, in Unix seconds."""
    path: Path | None = None
    """Where the body lies, when it lies somewhere."""


Reader = Callable[[Fetched], int | float]

CLOCKLESS = ("http", "none")
"""Those that do not look into the body."""
BUILTIN = ("gtfs-realtime", "gbfs", "siri", "json:/POINTER", "xml:PATH", "rss", "http", "none")


def resolve(name: str, root: Path) -> Reader:
    """Return the reader for a `timestamp` option. Plugins are looked up from the instance's folder first.

    Raises ValueError with the words for the user.
    """
    kind, _, argument = name.strip().partition(":")
    if kind == "json" and argument.startswith("/"):
        return json_reader(argument)
    if kind == "xml" and argument:
        return xml_reader(argument)
    if argument:
        return plugin_reader(kind, argument, root)
    try:
        return _PLAIN[kind]
    except KeyError:
        allowed = f"allowed: {', '.join(BUILTIN)} or MODULE:CALLABLE"
        known = [*_PLAIN, "json:/", "xml:"]
        raise ValueError(f"unknown timestamp (found {shorten(name)}); {allowed}{meant(kind, known)}") from None


def is_builtin(name: str) -> bool:
    """True for a `timestamp` option that names no plugin: reading by it executes nothing of anybody's."""
    kind, _, argument = name.strip().partition(":")
    return not is_plugin(name) if argument else kind in _PLAIN


def is_plugin(name: str) -> bool:
    """True for a `timestamp` option that names a module of the user's own."""
    kind, _, argument = name.strip().partition(":")
    return bool(argument) and kind != "xml" and not (kind == "json" and argument.startswith("/"))


def read_published(reader: Reader, fetched: Fetched) -> int | float:
    """Return what a reader says, when it may be so. Raises Corrupt for a time that no feed can be of."""
    published = reader(fetched)
    try:
        check_distance(published, fetched.fetched_at)
    except ValueError as error:
        raise Corrupt(str(error)) from error
    return published


def read_gtfs_realtime(fetched: Fetched) -> int | float:
    """Return the header's timestamp; the whole message is parsed, as a cut one often has a good header.

    Seconds, says the specification; some producers write milliseconds or microseconds.
    Parsing takes 0.44 ms for 130 KB, the header alone 1 µs. Whether every entity has its required fields is not asked
    (another 0.5 ms): an archive keeps what a producer forgot.
    """
    if not fetched.body:
        raise Corrupt("an empty body")
    moment = None
    try:
        for piece in _gtfs_realtime().pieces(fetched.body):
            if piece.header.HasField("timestamp"):
                moment = piece.header.timestamp
    except BadMessage as error:
        raise Corrupt(f"no GTFS-realtime message: {error}{_looks_like(fetched.body)}") from error
    if moment is None:
        raise Corrupt("a GTFS-realtime message without header.timestamp")
    return _moment(moment, "header.timestamp")


def read_gbfs(fetched: Fetched) -> int | float:
    """Return `last_updated`: seconds up to GBFS 2, RFC 3339 from GBFS 3 on."""
    return json_reader("/last_updated")(fetched)


def read_siri(fetched: Fetched) -> int | float:
    """Return the first ResponseTimestamp of the delivery, in XML (SOAP around it or not) or SIRI Lite's JSON."""
    if _JSON_OBJECT.match(fetched.body):
        return json_reader("/Siri/ServiceDelivery/ResponseTimestamp")(fetched)
    return xml_reader("ResponseTimestamp")(fetched)


def read_rss(fetched: Fetched) -> int | float:
    """Return the channel's lastBuildDate or pubDate or the feed's `updated`; without them the newest item's date.

    A date that cannot be read counts as missing.
    """
    dates = _Dates()
    _find(fetched.body, dates.are_wanted, dates.take)
    for name in _OWN_DATES:
        if name in dates.own:
            return dates.own[name]
    if dates.newest is None:
        raise Corrupt(f"no date of a feed or of an item that can be read{_looks_like(fetched.body)}")
    return dates.newest


def read_http(fetched: Fetched) -> int | float:
    """Return the time of Last-Modified, else of Date."""
    headers = {name.lower(): value for name, value in fetched.headers.items()}
    text = headers.get("last-modified") or headers.get("date")
    if text is None:
        raise Corrupt("neither Last-Modified nor Date in the answer")
    return _moment(text, "the answer's headers")


def read_fetch_time(fetched: Fetched) -> float:
    """Return when it was fetched, for feeds that carry no time."""
    return fetched.fetched_at


def json_reader(pointer: str) -> Reader:
    """Return a reader of the value at a JSON pointer (RFC 6901): seconds, milliseconds or an ISO 8601 text."""
    steps = [Step(step.replace("~1", "/").replace("~0", "~")) for step in pointer.split("/")[1:]]

    def read(fetched: Fetched) -> int | float:
        value = decode_json(fetched.body)
        try:
            for step in steps:
                value = step.into(value)
            return _moment(plain_value(value), pointer)
        except LookupError as error:
            raise Corrupt(f"JSON without {pointer}") from error
        except ValueError as error:
            raise Corrupt(f"{pointer}: {error}") from error

    return read


def xml_reader(path: str) -> Reader:
    """Return a reader of the first element or attribute (`/@NAME` last) at a path of names, whatever their namespaces.

    A path that begins with a slash starts at the document's root, any other matches anywhere.
    """
    wanted = path_matcher(path)

    def read(fetched: Fetched) -> int | float:
        texts = texts_in(fetched.body, wanted)
        if not texts:
            raise Corrupt(f"XML without {path}")
        return _moment(texts[0], path)

    return read


def plugin_reader(module: str, attribute: str, root: Path) -> Reader:
    """Return a reader that asks `callable(path)`; -1 or an exception of any kind means corrupt.

    Raises ValueError when the module cannot be imported or has no such callable.
    """
    found = getattr(load_module(module, root), attribute, None)
    if not callable(found):
        raise ValueError(f"{module} has no callable {attribute}")

    def read(fetched: Fetched) -> int | float:
        if fetched.path is not None:
            return _ask(found, fetched.path)
        with tempfile.NamedTemporaryFile(prefix="aggregator-") as file:
            file.write(fetched.body)
            file.flush()
            return _ask(found, Path(file.name))

    return read


def entity_hash(body: bytes) -> str:
    """Return a hash of a GTFS-realtime body's entities without its header, as 16 hexadecimal digits.

    Producers write a new header timestamp though nothing changed, and several behind one address the same contents
    under different ones: this hash tells. Raises Corrupt.
    """
    digest, whole = hashlib.sha256(), memoryview(body)
    begin = end = 0
    try:
        for field in Fields(body).between(0, len(body)):
            if field.number == _HEADER:
                digest.update(whole[begin:end])
                begin = field.end
            end = field.end
    except BadMessage as error:
        raise Corrupt(f"no protocol buffer: {error}") from error
    digest.update(whole[begin:end])
    return digest.hexdigest()[:16]


def decode_json(body: bytes) -> msgspec.Raw:
    """Return the value that a body holds, as bytes that are JSON from end to end. Raises Corrupt.

    Nothing is made of it: of a few bytes, unpacked, the values could fill gigabytes.
    """
    try:
        return msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupt(f"no JSON: {error}{_looks_like(body)}") from error


def texts_in(body: bytes, wanted: Callable[[list[str]], bool]) -> list[str]:
    """Return the first text of the wanted elements and attributes of a body in XML, read to its end. Raises Corrupt."""
    texts: list[str] = []
    _find(body, wanted, lambda _, text: None if texts else texts.append(text))
    return texts


def _find(body: bytes, wanted: Callable[[list[str]], bool], take: Callable[[tuple[str, ...], str], None]) -> None:
    try:
        find_texts(body, wanted, take)
    except ValueError as error:
        raise Corrupt(f"{error}{_looks_like(body)}") from error


@cache
def _gtfs_realtime() -> Parser:
    return gtfs_realtime()


_HEADER = 1
"""The number of `header` in FeedMessage, gtfs-realtime.proto."""
_JSON_OBJECT = re.compile(rb"\s*\{")
_OWN_DATES = ("lastBuildDate", "pubDate", "updated", "date")
_RSS_DATES = {*_OWN_DATES, "published", "modified"}
_FEEDS, _ITEMS = ("channel", "feed"), ("item", "entry")
MOST_DATES = 100_000


class _Dates:
    """The dates of a feed in RSS or Atom."""

    def __init__(self) -> None:
        self.own: dict[str, int | float] = {}
        """The feed's own, by the names of their elements: of each the first that can be read."""
        self.newest: int | float | None = None
        """Of its items, as long as it has none of its own."""
        self._looked_at = 0

    def are_wanted(self, path: list[str]) -> bool:
        """True for the path of a date."""
        return path[-1] in _RSS_DATES and len(path) > 1 and (path[-2] in _FEEDS or path[-2] in _ITEMS)

    def take(self, path: tuple[str, ...], text: str) -> None:
        """Take one date. Raises ValueError for too many."""
        is_own = path[-2] in _FEEDS
        if path[-1] in self.own or (self.own and not is_own) or (is_own and path[-1] not in _OWN_DATES):
            return
        self._looked_at += 1
        if self._looked_at > MOST_DATES:
            raise ValueError(f"more than {MOST_DATES} dates, none of them the feed's own")
        moment = _try(text)
        if moment is None:
            return
        if is_own:
            self.own[path[-1]] = moment
        else:
            self.newest = moment if self.newest is None else max(self.newest, moment)


def _moment(value: Any, where: str, read: Callable[[Any], int | float] = read_moment) -> int | float:
    try:
        return read(value)
    except ValueError as error:
        raise Corrupt(f"{where}: {error}") from error


def _try(text: str) -> int | float | None:
    try:
        return read_moment(text)
    except ValueError:
        return None


def _ask(plugin: Callable[[str], Any], path: Path) -> int | float:
    try:
        answer = plugin(str(path))
    except Exception as error:
        raise Corrupt(f"{type(error).__name__}: {error}") from error
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        raise Corrupt(f"the plugin returned no number (found {shorten(str(answer))})")
    return _moment(answer, "the plugin", check_moment)


def _looks_like(body: bytes) -> str:
    """Return what a body that cannot be read seems to be, for the reason."""
    start = body[:200].lstrip().lower()
    if body[:2] == b"\x1f\x8b":
        return " (a gzip file whose headers do not say so)"
    return " (an HTML page)" if start.startswith((b"<!doctype html", b"<html")) else ""


_PLAIN: dict[str, Reader] = {
    "gtfs-realtime": read_gtfs_realtime,
    "gbfs": read_gbfs,
    "siri": read_siri,
    "rss": read_rss,
    "http": read_http,
    "none": read_fetch_time,
}
