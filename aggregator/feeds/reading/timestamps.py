"""Find out when a body was published: a reader for each kind of feed takes the time from the feed, not from our clock.

A `Reader` gets a fetched body and returns Unix seconds, with a fraction when the feed has one. It reads the whole body,
so that a truncated or damaged body is detected, and raises `Corrupt` when the body has no time.
"""

from __future__ import annotations

from pathlib import Path

from aggregator.config.hints import meant, shorten
from aggregator.feeds.reading.dates import check_distance
from aggregator.feeds.reading.fetched import Corrupt, Fetched, Reader, moment_of
from aggregator.feeds.reading.gtfsrealtime import read_gtfs_realtime
from aggregator.feeds.reading.jsontimes import json_reader, read_gbfs
from aggregator.feeds.reading.plugintimes import plugin_reader
from aggregator.feeds.reading.rsstimes import read_rss
from aggregator.feeds.reading.xmltimes import read_siri, xml_reader

CLOCKLESS = ("http", "none")
"""The values of `timestamp` whose readers do not look into the body."""
BUILTIN = ("gtfs-realtime", "gbfs", "siri", "json:/POINTER", "xml:PATH", "rss", "http", "none")


def resolve(name: str, root: Path) -> Reader:
    """Return the reader for a `timestamp` option. Plugins are looked up in the instance's folder first.

    Raises ValueError with a message for the user.
    """
    kind, _, argument = name.strip().partition(":")
    if kind == "json" and argument.startswith("/"):
        return json_reader(argument)
    if kind == "xml" and argument:
        return xml_reader(argument)
    if argument and kind != "json":
        return plugin_reader(kind, argument, root)
    if kind in _PLAIN:
        return _PLAIN[kind]
    hint = f"; did you mean json:/{argument}?" if argument else meant(kind, [*_PLAIN, "json:/", "xml:"])
    allowed = f"allowed: {', '.join(BUILTIN)} or MODULE:CALLABLE"
    raise ValueError(f"unknown timestamp (found {shorten(name)}); {allowed}{hint}")


def is_builtin(name: str) -> bool:
    """True for a `timestamp` option that names no plugin, so that reading by it runs no foreign code."""
    kind, _, argument = name.strip().partition(":")
    return not is_plugin(name) if argument else kind in _PLAIN


def is_plugin(name: str) -> bool:
    """True for a `timestamp` option that names a plugin, a module of the user."""
    kind, _, argument = name.strip().partition(":")
    return bool(argument) and kind != "xml" and not (kind == "json" and argument.startswith("/"))


def read_published(reader: Reader, fetched: Fetched) -> int | float:
    """Return the time that a reader finds. Raises Corrupt for a time that no feed can have."""
    published = reader(fetched)
    try:
        check_distance(published, fetched.fetched_at)
    except ValueError as error:
        raise Corrupt(str(error)) from error
    return published


def read_http(fetched: Fetched) -> int | float:
    """Return the time in the header Last-Modified, or else in Date."""
    headers = {name.lower(): value for name, value in fetched.headers.items()}
    text = headers.get("last-modified") or headers.get("date")
    if text is None:
        raise Corrupt("neither Last-Modified nor Date in the answer")
    return moment_of(text, "the answer's headers")


def read_fetch_time(fetched: Fetched) -> float:
    """Return the time of the download, for feeds that carry no time."""
    return fetched.fetched_at


_PLAIN: dict[str, Reader] = {
    "gtfs-realtime": read_gtfs_realtime,
    "gbfs": read_gbfs,
    "siri": read_siri,
    "rss": read_rss,
    "http": read_http,
    "none": read_fetch_time,
}
