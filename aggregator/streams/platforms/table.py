"""The platforms: one entry for each `type` of a stream.

The figures are those of the platforms' documentation, as far as it gives any: X API v2, "Handling disconnections"
(docs.x.com); Twitter API v1.1, "Connecting to a streaming endpoint" (archived); Mastodon, "Streaming"
(docs.joinmastodon.org); Wikimedia, "EventStreams HTTP Service" (wikitech.wikimedia.org); Jetstream, README and lexicons
(github.com/bluesky-social/jetstream). Where there are none, X's are used.
"""

from __future__ import annotations

from typing import NamedTuple

from aggregator.streams.platforms.schedule import Growth, Schedule

JETSTREAM_V2 = "subscribeEvents"
"""The endpoint of Jetstream's second version, by our name."""
_DAY_S = 24 * 3600
X = Schedule(
    network=Growth(0.25, 16.0, add_s=0.25),
    http=Growth(5.0, 320.0, factor=2.0),
    rate_limit=Growth(60.0, 960.0, factor=2.0),
)


class Platform(NamedTuple):
    """What is special about the streams of one type."""

    transport: str
    """`lines` (JSON on lines), `sse` (Server-Sent Events) or `websocket`."""
    url: str
    """Where its endpoints lie; empty when the section must say it."""
    stall_s: float
    """A connection that brings no byte for this long is given up."""
    endpoints: tuple[tuple[str, str], ...] = ()
    """(name, path) of the endpoints whose names are ours; any other name is a path by itself."""
    default: str = ""
    """The endpoint of a section that names none."""
    credentials: tuple[str, ...] = ()
    """The kinds of credentials it takes; none = it takes none."""
    needs_credential: bool = False
    connections: int | None = None
    """How many connections one credential may have at once: of one more, the platform ends another. None = any."""
    resumes: bool = False
    """True when a connection asks to go on behind the last event that came."""
    marks: str = ".*"
    """What the id of an event looks like, as a regular expression: another one is of a platform that the section had
    before."""
    promise_s: float = 0.0
    """How far back the platform is known to go on, sending all that follows that event, so that no gap stays."""
    overlaps: bool = False
    """True when the platform goes on some seconds before that event, and what comes again is removed by its key."""
    filters: tuple[str, ...] = ()
    """The options that say which events are wanted."""
    schedule: Schedule = X


PLATFORMS = {
    "twitter_v1": Platform(
        transport="lines",
        url="https://stream.twitter.com/1.1/",
        stall_s=90.0,
        endpoints=(("sample", "statuses/sample.json"), ("filter", "statuses/filter.json")),
        default="sample",
        credentials=("oauth1", "bearer"),
        needs_credential=True,
        connections=1,
        filters=("track", "follow", "locations", "language"),
    ),
    "x_v2": Platform(
        transport="lines",
        url="https://api.x.com/2/",
        stall_s=20.0,
        endpoints=(("sample", "tweets/sample/stream"), ("filter", "tweets/search/stream")),
        default="filter",
        credentials=("bearer",),
        needs_credential=True,
        connections=1,
    ),
    "mastodon": Platform(
        transport="sse",
        url="",
        stall_s=60.0,
        endpoints=(("hashtag", "hashtag"),),
        default="public",
        credentials=("bearer",),
        filters=("track",),
    ),
    "wikimedia": Platform(
        transport="sse",
        url="https://stream.wikimedia.org/v2/stream/",
        stall_s=60.0,
        default="recentchange",
        resumes=True,
        marks=r"\[.*",
        promise_s=7 * _DAY_S,
    ),
    "jetstream": Platform(
        transport="websocket",
        url="https://jetstream.us-east.bsky.network/",
        stall_s=60.0,
        endpoints=(("subscribe", "subscribe"), (JETSTREAM_V2, "xrpc/network.bsky.jetstream.subscribeEvents")),
        default="subscribe",
        resumes=True,
        marks="[0-9]{16}",
        promise_s=1.5 * _DAY_S,
        overlaps=True,
        filters=("follow", "collections"),
    ),
    "sse": Platform(transport="sse", url="", stall_s=90.0, credentials=("bearer", "basic"), resumes=True),
    "ndjson": Platform(transport="lines", url="", stall_s=90.0, credentials=("bearer", "basic")),
    "websocket": Platform(transport="websocket", url="", stall_s=90.0, credentials=("bearer", "basic")),
}
"""The platforms by the `type` of a stream."""
