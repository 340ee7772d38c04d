"""The options of the sections `[stream_NAME]`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Annotated

from aggregator.config.settings import (
    Bounds,
    Doc,
    Duration,
    FilePath,
    Flag,
    Integer,
    OptionType,
    SafeName,
    Size,
    TargetQueue,
    Text,
    choice,
    parse_web_url,
)
from aggregator.http import options
from aggregator.runtime.contract import SourceSettings
from aggregator.streams.platforms.limits import faults_of_filters, faults_of_jetstream
from aggregator.streams.platforms.table import JETSTREAM_V2, PLATFORMS
from aggregator.streams.room import MIN_FREE, MinFree
from aggregator.streams.rules.names import RuleSetName


def _parse_url(text: str) -> str:
    url = text.strip()
    parse_web_url(f"http{url[2:]}" if url.startswith(("ws://", "wss://")) else url)
    return url


StreamUrl = Annotated[
    str,
    OptionType("URL", _parse_url, "an address that starts with http:// or https://, of a WebSocket ws:// or wss://"),
]


class StreamSettings(SourceSettings, frozen=True, kw_only=True):
    """[stream_NAME]: which stream is captured, and where its events go."""

    type: Annotated[str, choice(*PLATFORMS), Doc("the platform, or the form of the stream")]
    pushto: Annotated[TargetQueue, Doc("the queue that gets the events")]
    url: (
        Annotated[
            StreamUrl,
            Doc(
                "where the platform's endpoints are, in place of its usual address; of mastodon the server; of sse, "
                "ndjson and websocket the whole address of the stream"
            ),
        ]
        | None
    ) = None
    endpoint: (
        Annotated[Text, Doc("sample or filter, or the platform's own: public/local, hashtag, recentchange, ...")] | None
    ) = None
    track: (
        Annotated[Text, Doc("words with commas between: an event is wanted that has all words of one of them")] | None
    ) = None
    follow: (
        Annotated[Text, Doc("ids of accounts with commas between, whose events are wanted; of jetstream their DIDs")]
        | None
    ) = None
    collections: (
        Annotated[
            Text, Doc("of jetstream: the collections that are wanted, such as app.bsky.feed.post, app.bsky.graph.*")
        ]
        | None
    ) = None
    locations: (
        Annotated[Text, Doc("boxes from which events are wanted: west, south, east, north of each, in degrees")] | None
    ) = None
    language: Annotated[Text, Doc("codes of languages with commas between, such as en, fr")] | None = None
    rules: (
        Annotated[
            RuleSetName,
            Doc(
                "of twitter_v1, in place of track, and of x_v2, where the type is x: the rules that say what is "
                "wanted, TYPE:ID in the Redis of [rules]"
            ),
        ]
        | None
    ) = None
    parameters: Annotated[Text, Doc("further parameters of the address: NAME=VALUE&NAME=VALUE")] | None = None
    credential: Annotated[SafeName, Doc("the section [credential_NAME] that says who asks")] | None = None
    pool: (
        Annotated[
            SafeName,
            Doc(
                "in place of credential: a credential of this pool that is free; of all nodes that share a Redis, "
                "one captures the stream"
            ),
        ]
        | None
    ) = None
    backfill_minutes: Annotated[
        Integer, Doc("of x_v2: how many minutes the platform sends again after a gap, where the contract allows it")
    ] = 0
    max_size: Annotated[Size, Doc("a message larger than this is counted and passed over"), Bounds(1024, 900_000)] = (
        800_000
    )
    compress: Annotated[
        Flag,
        Doc("of jetstream: ask for messages packed with zstd; the endpoint subscribe needs zstd_dictionary for it"),
    ] = False
    zstd_dictionary: (
        Annotated[
            FilePath,
            Doc(
                "of jetstream with compress: the file with the dictionary; none = the endpoint subscribeEvents is asked"
            ),
        ]
        | None
    ) = None
    stall_after: Annotated[
        Duration | None,
        Doc("a connection that brings nothing for this long is given up; none = as the platform advises"),
        Bounds(1, 3600),
    ] = None
    spool_size: Annotated[
        Size, Doc("how much waits on the disk at most while Redis is away or the queue is full"), Bounds(1024**2)
    ] = 1024**3
    min_free: MinFree = MIN_FREE
    allow_private: Annotated[
        Flag, Doc("follow redirects from a public address to one of a private network, or of this machine")
    ] = False
    proxy: options.Proxy | None = None
    ca_file: options.CaFile | None = None
    client_cert: options.ClientCert | None = None
    client_key: options.ClientKey | None = None


def asked_of(settings: StreamSettings) -> str:
    """Return a text that stands for what a stream asks for; another one is another stream as to its volume."""
    names = (
        "type",
        "url",
        "endpoint",
        "track",
        "follow",
        "collections",
        "locations",
        "language",
        "rules",
        "parameters",
    )
    # a hash, because an address may hold a secret
    return hashlib.sha256(repr([getattr(settings, name) for name in names]).encode()).hexdigest()


def faults_of_stream(settings: StreamSettings) -> Iterator[tuple[str, str]]:
    """Yield (option, fault) for faults that show only when options are read together."""
    platform = PLATFORMS[settings.type]
    if not platform.url and settings.url is None:
        yield "url", f"missing; type = {settings.type} has no address of its own"
    if (settings.url or "").startswith("ws") and platform.transport != "websocket":
        yield "url", f"an address of a WebSocket, which type = {settings.type} is not"
    for name in ("track", "follow", "locations", "language", "collections"):
        if getattr(settings, name) is not None and name not in platform.filters:
            yield name, f"means nothing to type = {settings.type}"
    if settings.type == "mastodon" and settings.track is not None and settings.endpoint != "hashtag":
        yield "track", "means nothing without endpoint = hashtag, of which it is the tag"
    if settings.type == "mastodon" and settings.endpoint == "hashtag" and settings.track is None:
        yield "track", "missing: endpoint = hashtag needs the tag"
    if settings.rules is not None:
        yield from _faults_of_rules(settings)
    if settings.type == "twitter_v1":
        yield from faults_of_filters(settings)
    if settings.type == "jetstream":
        yield from faults_of_jetstream(settings)
    yield from _faults_of_packing(settings)
    if settings.backfill_minutes and settings.type != "x_v2":
        yield "backfill_minutes", f"means nothing to type = {settings.type}"
    if not 0 <= settings.backfill_minutes <= 5:
        yield "backfill_minutes", f"allowed: 0 to 5 (found {settings.backfill_minutes})"
    yield from _faults_of_credentials(settings)
    yield from options.faults_of(settings)


def _faults_of_credentials(settings: StreamSettings) -> Iterator[tuple[str, str]]:
    platform = PLATFORMS[settings.type]
    given = [name for name in ("credential", "pool") if getattr(settings, name) is not None]
    if platform.needs_credential and not given:
        yield "credential", f"missing; type = {settings.type} answers nobody without one"
    if len(given) > 1:
        yield "pool", "not beside credential: a stream takes one of the pool, or always the same"
    for name in given if not platform.credentials else ():
        yield name, f"means nothing to type = {settings.type}"


def _faults_of_packing(settings: StreamSettings) -> Iterator[tuple[str, str]]:
    if settings.type == "jetstream":
        if settings.compress and settings.zstd_dictionary is None and settings.endpoint != JETSTREAM_V2:
            yield "zstd_dictionary", f"missing; only the endpoint {JETSTREAM_V2} hands its dictionary out"
        if settings.zstd_dictionary is not None and not settings.compress:
            yield "zstd_dictionary", "not used without compress = yes"
        return
    if settings.compress:
        yield "compress", f"means nothing to type = {settings.type}"
    if settings.zstd_dictionary is not None:
        yield "zstd_dictionary", f"means nothing to type = {settings.type}"


def _faults_of_rules(settings: StreamSettings) -> Iterator[tuple[str, str]]:
    if settings.type not in ("twitter_v1", "x_v2") or settings.rules is None:
        yield "rules", f"means nothing to type = {settings.type}"
        return
    if (settings.rules.type == "x") != (settings.type == "x_v2"):
        allowed = "x, such as x:0" if settings.type == "x_v2" else "track, follow and locations"
        yield "rules", f"of type {settings.rules.type} (found {settings.rules}); {settings.type} takes {allowed}"
    if settings.type == "x_v2" and settings.pool is not None:
        yield "pool", "not beside rules: X keeps rules with the application of one credential; say credential"
    # x_v2 filters when nothing is said
    if (settings.endpoint or PLATFORMS[settings.type].default) != "filter":
        yield "rules", "means nothing without endpoint = filter"
    for name in ("track", "follow", "locations"):
        if getattr(settings, name) is not None:
            yield name, "stands beside rules; one of them says what is wanted"
