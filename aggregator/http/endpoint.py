"""Tell one address something by GET: what counts is the status of the answer."""

from __future__ import annotations

import time
from typing import NamedTuple

from aggregator.http.client import FAILURES, Client
from aggregator.http.request import Request
from aggregator.http.retryafter import retry_after_s
from aggregator.http.route import DIRECT, Route

MAX_BODY_BYTES = 64 * 1024
"""Of a longer answer the rest is not read; the connection is closed instead."""
LONGEST_REST_S = 3600.0
"""However long the server asks to be left alone."""
_DRAIN_S = 5.0
"""A body nobody looks at may take so long, for the sake of the connection."""
_EXCERPT_BYTES = 200


class Answer(NamedTuple):
    """What the server said."""

    status: int
    retry_after_s: float | None
    location: str
    """Where the server sends us, as it may be shown: without the query, which holds the reader's address."""
    excerpt: str
    """The beginning of the body, on one line: trackers say there what they dislike."""


class Unanswered(Exception):
    """There was no answer: refused, broken off, no HTTP, or too late."""


class Endpoint:
    """The server behind a URL. Safe to use from several threads."""

    def __init__(self, url: str, timeout_s: float, client: Client, route: Route = DIRECT) -> None:
        base = url.partition("#")[0]
        self._begin = f"{base}&" if "?" in base else f"{base}?"
        self._timeout_s = timeout_s
        self._client = client
        self._route = route

    def get(self, query: str) -> Answer:
        """Ask with this query string behind the URL's own. Raises Unanswered."""
        request = Request(f"{self._begin}{query}", self._timeout_s, encodings=(), follow=0, route=self._route)
        try:
            with self._client.open(request) as exchange:
                status, headers = exchange.response.status, exchange.response.headers
                excerpt = exchange.excerpt(MAX_BODY_BYTES, _DRAIN_S)[:_EXCERPT_BYTES].decode("utf-8", "replace")
        except FAILURES as error:
            raise Unanswered(_describe(error)) from error
        rest_s = retry_after_s(headers["retry-after"] or "", headers["date"] or "", time.time(), LONGEST_REST_S)
        return Answer(status, rest_s, _shown(headers["location"] or ""), " ".join(excerpt.split()))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _shown(address: str) -> str:
    text = address.partition("?")[0][:_EXCERPT_BYTES]
    return "".join(character if character.isprintable() else " " for character in text)


def _describe(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
