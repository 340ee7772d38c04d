"""Validators for conditional requests, so that an unchanged feed costs only a 304; and when not to send them."""

from __future__ import annotations

import hashlib

import msgspec

from aggregator.feeds.fetching.fetch import Answer
from aggregator.feeds.messages.ticks import DueTick, Validators
from aggregator.feeds.settings.table import Feed

LONGEST = 1000
"""The most characters of validators that are kept, as they travel in the message of every tick."""


def source_of(feed: Feed) -> str:
    """Return a hash of a feed's address and of how it is read; validators and failures hold for this source only."""
    told = msgspec.json.encode((feed.url, feed.timestamp, feed.extension, sorted(feed.headers.items())))
    if feed.body is not None or feed.route.credentials is not None:
        told += msgspec.json.encode((feed.method, feed.body, feed.route.credentials))
    return hashlib.sha256(told).hexdigest()[:16]


def validators_for(feed: Feed, due: DueTick) -> Validators | None:
    """Return the validators to send to the feed's server; None when they were learnt from another source.

    A 304 says that the last body is still valid. That does not hold when other settings named or judged that body.
    """
    known = due.validators
    return known if known is not None and known.url == source_of(feed) else None


def validators_of(feed: Feed, answer: Answer) -> Validators | None:
    """Return the validators for the next request; None if the body is empty or perhaps cut: a 304 would confirm it."""
    etag, modified = answer.headers.get("etag", ""), answer.headers.get("last-modified", "")
    if not answer.size_bytes or not answer.has_end or not (etag or modified):
        return None
    if len(etag) + len(modified) > LONGEST or not (etag + modified).isprintable():
        return None
    if answer.secrets.hide(etag + modified) != etag + modified:
        return None  # the server repeats a key of the request in them, and ticks wait in Redis
    return Validators(url=source_of(feed), etag=etag, modified=modified, sha=answer.sha256[:16])
