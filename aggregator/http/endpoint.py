"""Tell a server something by a GET request: the status of the answer is what counts."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import NamedTuple

from aggregator.http.client import FAILURES, Client
from aggregator.http.failures import describe_late
from aggregator.http.masking import mask_url
from aggregator.http.request import Request
from aggregator.http.retryafter import retry_after_s
from aggregator.http.route import DIRECT, Route
from aggregator.http.secrets import Secrets

MAX_BODY_BYTES = 64 * 1024
"""The rest of a longer answer is not read; the connection is closed instead."""
LONGEST_REST_S = 3600.0
"""The longest time for which the server is left alone, however long it asks for."""
_DRAIN_S = 5.0
"""How long reading a body may take; a body is read to keep the connection."""
_EXCERPT_BYTES = 200
_LOOKED_AT_BYTES = 4096
"""How much of the body the excerpt is made from."""


class Answer(NamedTuple):
    """The server's answer."""

    status: int
    retry_after_s: float | None
    location: str
    """The target of a redirect as it may be shown: without the query, which holds the reader's address."""
    excerpt: str
    """The beginning of the body, on one line: there trackers say why they refuse a request. What the request said in
    secret is hidden in it."""


class Unanswered(Exception):
    """There was no answer: the connection was refused or broken off, was no HTTP, or took too long."""


class Endpoint:
    """The server behind a URL. Safe to use from several threads."""

    def __init__(self, url: str, timeout_s: float, client: Client, route: Route = DIRECT) -> None:
        base = url.partition("#")[0]
        self._begin = f"{base}&" if "?" in base else f"{base}?"
        self._timeout_s = timeout_s
        self._client = client
        self._route = route

    def get(self, query: str, secrets: Collection[str] = ()) -> Answer:
        """Send a GET request with this query string behind the URL's own. Raises Unanswered.

        `secrets` are further values that the answer's words are shown without, beside those that a request has anyway.
        """
        url = f"{self._begin}{query}"
        request = Request(url, self._timeout_s, encodings=(), follow=0, route=self._route, secrets=secrets)
        exchange = self._client.open(request)
        try:
            with exchange:
                status, headers = exchange.response.status, exchange.response.headers
                body = exchange.excerpt(MAX_BODY_BYTES, _DRAIN_S)
        except TimeoutError as error:
            raise Unanswered(f"no answer in time{describe_late(error)}") from error
        except FAILURES as error:
            raise Unanswered(exchange.describe(error)) from error
        rest_s = retry_after_s(headers["retry-after"] or "", headers["date"] or "", time.time(), LONGEST_REST_S)
        location = headers["location"] or ""
        hidden = exchange.secrets
        return Answer(status, rest_s, _shown_address(location, hidden), _shown_text(body, hidden))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _shown_address(address: str, secrets: Secrets) -> str:
    text = mask_url(secrets.hide(address.partition("?")[0]))[:_EXCERPT_BYTES]
    return "".join(character if character.isprintable() else " " for character in text)


def _shown_text(body: bytes, secrets: Secrets) -> str:
    # order: secrets are hidden before the text is cut, as the rest of one that was cut could not be told
    text = secrets.hide(body[:_LOOKED_AT_BYTES].decode("utf-8", "replace"))
    return " ".join(text[:_EXCERPT_BYTES].split())
