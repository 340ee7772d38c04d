"""The options of a section `[feed_NAME]`."""

from __future__ import annotations

from typing import Annotated

from aggregator.config.settings import Bounds, Doc, Duration, FilePath, Flag, Settings, Size, Text, WebUrl, choice
from aggregator.feeds.naming.feednames import Extension
from aggregator.http import options

FORMATS = ("gtfs-realtime", "gbfs", "siri", "rss", "json", "xml", "other")


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
    method: Annotated[str, choice("GET", "POST"), Doc("how it is asked for; POST sends body or body_file")] = "GET"
    body: Annotated[Text, Doc("what a POST sends, as text")] | None = None
    body_file: (
        Annotated[FilePath, Doc("the file below the instance's folder that a POST sends; at most 1 MB")] | None
    ) = None
    proxy: options.Proxy | None = None
    ca_file: options.CaFile | None = None
    client_cert: options.ClientCert | None = None
    client_key: options.ClientKey | None = None
    auth: options.AuthKind | None = None
    username: options.Username | None = None
    password: options.Password | None = None
    token: options.Token | None = None
    client_id: options.ClientId | None = None
    client_secret: options.ClientSecret | None = None
    token_url: options.TokenUrl | None = None
    scope: options.Scope | None = None
