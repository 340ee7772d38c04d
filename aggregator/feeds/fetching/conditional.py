"""What a feed's server is asked with, so that an unchanged feed costs a 304; and when it must not be."""

from __future__ import annotations

import hashlib

import msgspec

from aggregator.feeds.fetching.fetch import Answer
from aggregator.feeds.messages.ticks import DueTick, Validators
from aggregator.feeds.settings.table import Feed

LONGEST = 1000
"""They travel in every tick: longer ones are not kept."""


def source_of(feed: Feed) -> str:
    """Return a hash of where a feed comes from and how it is read: what was learnt under another is not true of it."""
    told = msgspec.json.encode((feed.url, feed.timestamp, feed.extension, sorted(feed.headers.items())))
    if feed.body is not None or feed.route.credentials is not None:
        told += msgspec.json.encode((feed.method, feed.body, feed.route.credentials))
    return hashlib.sha256(told).hexdigest()[:16]


def validators_for(feed: Feed, due: DueTick) -> Validators | None:
    """Return what to ask the feed's server with; nothing when it was learnt of another source.

    A 304 says that the last body is still right. It is not when it was named or judged by other settings.
    """
    known = due.validators
    return known if known is not None and known.url == source_of(feed) else None


def validators_of(feed: Feed, answer: Answer) -> Validators | None:
    """Return what to ask with the next time; nothing after a body that is empty, or may be cut, lest 304s keep it."""
    etag, modified = answer.headers.get("etag", ""), answer.headers.get("last-modified", "")
    if not answer.size_bytes or not answer.has_end or not (etag or modified):
        return None
    if len(etag) + len(modified) > LONGEST or not (etag + modified).isprintable():
        return None
    return Validators(url=source_of(feed), etag=etag, modified=modified, sha=answer.sha256[:16])
