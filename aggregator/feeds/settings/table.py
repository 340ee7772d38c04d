"""What a feed is: the options of a section `[feed_NAME]`, and the feed that they make. `reading.py` reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from aggregator.config.hints import shorten
from aggregator.config.settings import Bounds, Doc, Duration, Flag, Settings, Size, Text, WebUrl, choice
from aggregator.feeds.naming.layout import Extension
from aggregator.feeds.settings.masking import mask_url

FORMATS = ("gtfs-realtime", "gbfs", "siri", "rss", "json", "xml", "other")
HEADER_PREFIX = "headers."
COLUMNS = ("id", "url", "extension", "period", "timestamp")
"""The columns of a feeds file that does not name them."""

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OURS = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding", "if-none-match")
"""Headers that the download itself speaks by."""


class FeedSettings(Settings, frozen=True, kw_only=True):
    """[feed_NAME]: what to download, how often, and what it is."""

    url: Annotated[WebUrl, Doc("where the feed is")]
    extension: Annotated[Extension, Doc("how the names of its files end")]
    period: Annotated[Duration, Doc("how often it is downloaded"), Bounds(0.1, 7 * 86400)] = 14.0
    timestamp: Annotated[
        Text | None,
        Doc(
            "where the publication's time stands: gtfs-realtime, gbfs, siri, json:/POINTER, xml:PATH, rss, http, none "
            "(the time of the download) or MODULE:CALLABLE; none given = as its format has it, else none"
        ),
    ] = None
    format: Annotated[
        str | None, choice(*FORMATS), Doc("what it is, for exports and reports; none = as its timestamp says")
    ] = None
    timeout: Annotated[
        Duration | None,
        Doc("how long a whole download may take; none = its period, but 5s to 60s"),
        Bounds(0.1, 3600),
    ] = None
    max_size: Annotated[Size, Doc("a body larger than this, packed or unpacked, is refused"), Bounds(1)] = 50 * 1024**2
    stale_after: Annotated[
        Duration,
        Doc("`aggregator health` complains when nothing succeeded, or nothing changed, for this long; 0 = never"),
    ] = 3600.0
    allow_private: Annotated[
        Flag, Doc("follow redirects from a public address to one of a private network, or of this machine")
    ] = False


class Feed(msgspec.Struct, frozen=True, kw_only=True):
    """One feed, with nothing left open."""

    name: str
    url: str
    shown_url: str
    """The same without its secrets, for records and screens."""
    extension: str
    period_ms: int
    timestamp: str
    format: str
    timeout_s: float
    max_size: int
    stale_after_s: float
    allow_private: bool
    headers: Mapping[str, str]


def make_feed(name: str, settings: FeedSettings, headers: Mapping[str, str], written_url: str) -> Feed:
    """Return a feed. `written_url` is its address as it was written, with variables in place of secrets."""
    timestamp = settings.timestamp or (
        settings.format if settings.format in ("gtfs-realtime", "gbfs", "siri", "rss") else "none"
    )
    return Feed(
        name=name,
        url=settings.url,
        shown_url=mask_url(written_url.strip()),
        extension=settings.extension,
        period_ms=round(settings.period * 1000),
        timestamp=timestamp,
        format=settings.format or _format_of(timestamp),
        timeout_s=settings.timeout or min(max(settings.period, 5.0), 60.0),
        max_size=settings.max_size,
        stale_after_s=settings.stale_after,
        allow_private=settings.allow_private,
        headers=headers,
    )


def fault_of_host(url: str) -> list[str]:
    """Return what is wrong with the host or port of a URL; nothing when both are fine."""
    fault = [f"bad host or port (found {shorten(url)}); / ? # @ in a login are written as %2F %3F %23 %40"]
    try:
        parts = urlsplit(url)
        return [] if parts.hostname and parts.port != 0 else fault
    except ValueError:
        return fault  # the error's own words would show what stands there, perhaps a part of a password


def _format_of(timestamp: str) -> str:
    kind = timestamp.partition(":")[0]
    return kind if kind in FORMATS else "other"


def read_headers(texts: Mapping[str, str]) -> tuple[dict[str, str], list[tuple[str | None, str]]]:
    """Return the headers to be sent, and (option, fault) for each that cannot be."""
    headers: dict[str, str] = {}
    faults: list[tuple[str | None, str]] = []
    for option, text in texts.items():
        if not option.startswith(HEADER_PREFIX):
            continue
        name = option.removeprefix(HEADER_PREFIX)
        if not _TOKEN.fullmatch(name) or name in _OURS:
            faults.append((option, f"no header that can be set (found {shorten(name)}); not: {', '.join(_OURS)}"))
        elif not text.isprintable() or not text.isascii() or len(text) > 4000:
            faults.append((option, "bad header; allowed: one line of ASCII"))
        else:
            headers[name] = text
    return headers, faults
