"""A feed with all defaults filled in. `reading.py` makes feeds from sections and rows."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from aggregator.config.hints import shorten
from aggregator.feeds.settings.asking import content_type_of
from aggregator.feeds.settings.section import FORMATS, FeedSettings
from aggregator.http.masking import mask_url
from aggregator.http.route import DIRECT, Route

COLUMNS = ("id", "url", "extension", "period", "timestamp")
"""The columns of a feeds file whose first line does not name them."""


class Feed(msgspec.Struct, frozen=True, kw_only=True):
    """One feed, with all defaults filled in."""

    name: str
    url: str
    shown_url: str
    """The address without its secrets, for records and screens."""
    extension: str
    period_ms: int
    timestamp: str
    format: str
    timeout_s: float
    max_size: int
    stale_after_s: float
    allow_private: bool
    headers: Mapping[str, str]
    method: str = "GET"
    body: bytes | None = None
    route: Route = DIRECT
    secrets: tuple[str, ...] = ()
    """What the section took from the environment."""


def make_feed(
    name: str,
    settings: FeedSettings,
    headers: Mapping[str, str],
    written_url: str,
    body: bytes | None = None,
    route: Route = DIRECT,
    secrets: tuple[str, ...] = (),
) -> Feed:
    """Return a feed. `written_url` is its address as written in the configuration, with variables for secrets."""
    if body is not None:
        headers = {"content-type": content_type_of(body), **headers}
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
        method=settings.method,
        body=body,
        route=route,
        secrets=secrets,
    )


def fault_of_host(url: str) -> list[str]:
    """Return the fault of a URL's host or port; none when both are fine."""
    fault = [f"bad host or port (found {shorten(url)}); / ? # @ in a login are written as %2F %3F %23 %40"]
    try:
        parts = urlsplit(url)
        return [] if parts.hostname and parts.port != 0 else fault
    except ValueError:
        return fault  # the error's own text would quote the URL, perhaps with a part of a password


def _format_of(timestamp: str) -> str:
    kind = timestamp.partition(":")[0]
    return kind if kind in FORMATS else "other"
