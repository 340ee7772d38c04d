"""One download: ask for a feed, check the answer, and pass its body on piece by piece."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Mapping
from http.client import IncompleteRead
from typing import NamedTuple

from aggregator.http import request as http
from aggregator.http.client import FAILURES, Client, Exchange
from aggregator.http.connections import Connections
from aggregator.http.failures import describe_late
from aggregator.http.retryafter import retry_after_s
from aggregator.http.route import DIRECT, Route
from aggregator.http.secrets import NONE, Secrets
from aggregator.http.urls import printable


class Request(NamedTuple):
    """The request for one download."""

    url: str
    headers: Mapping[str, str]
    """The feed's own headers, which may hold secrets: they are sent to the feed's own server only."""
    timeout_s: float
    max_size: int
    allow_private: bool = False
    etag: str = ""
    modified: str = ""
    keep_gzip: bool = False
    """True to keep the body as a gzip file instead of unpacking it."""
    method: str = "GET"
    body: bytes | None = None
    route: Route = DIRECT
    secrets: Collection[str] = ()
    """Further secrets of the request, as in `aggregator.http.request`."""


class Answer(NamedTuple):
    """A complete answer: 200 with a body, or 304 without one."""

    status: int
    headers: dict[str, str]
    """The headers by lower-case name."""
    url: str
    """The address that answered, after redirects."""
    wire_bytes: int = 0
    size_bytes: int = 0
    sha256: str = ""
    has_end: bool = True
    """False when only the end of the connection marked the end of the body, which may therefore be truncated."""
    notes: tuple[str, ...] = ()
    """Remarks on an odd body, such as `bytes_behind_packing`."""
    secrets: Secrets = NONE
    """What was sent in secret: headers and addresses that are recorded are passed through its `hide`."""


class Failed(Exception):
    """There is no complete answer; the text says why."""

    def __init__(self, reason: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after_s = retry_after_s


class Fetcher:
    """Download from any server. Safe to use from several threads."""

    def __init__(self, user_agent: str, connections: Connections | None = None) -> None:
        self.client = Client(user_agent, connections)
        self.connections = self.client.connections

    def fetch(self, request: Request, write: Callable[[bytes], object]) -> Answer:
        """Return the answer; its unpacked body is passed to `write` in pieces.

        Raises Failed, perhaps after a part of the body has been written. Exceptions of `write` are passed on.
        """
        exchange = self.client.open(_asked(request))
        try:
            with exchange:
                return _read(exchange, request, write)
        except TimeoutError as error:
            words = f"no whole answer within {request.timeout_s:g} s{describe_late(error)}"
            raise Failed(words, exchange.status) from error
        except IncompleteRead as error:
            raise Failed("the answer broke off", exchange.status) from error
        except FAILURES as error:
            raise Failed(exchange.describe(error), exchange.status) from error


def _asked(request: Request) -> http.Request:
    validators = {"if-none-match": request.etag, "if-modified-since": request.modified}
    return http.Request(
        request.url,
        request.timeout_s,
        headers=request.headers,
        everywhere={name: value for name, value in validators.items() if value},
        method=request.method,
        body=request.body,
        # do not let the server pack a gzip file once more: it gains nothing, and cannot be told from a plain gzip file
        encodings=() if request.keep_gzip else ("gzip",),
        allow_private=request.allow_private,
        route=request.route,
        secrets=request.secrets,
    )


def _read(exchange: Exchange, request: Request, write: Callable[[bytes], object]) -> Answer:
    response, headers = exchange.response, exchange.headers
    if response.status == 304 and (request.etag or request.modified):
        exchange.drain()
        return Answer(304, headers, exchange.url, secrets=exchange.secrets)
    if response.status not in (200, 203):
        if response.status == 101:
            response.demand_body()
        exchange.drain()
        asks = response.status in (429, 503)
        wish = retry_after_s(headers.get("retry-after", ""), headers.get("date", ""), time.time()) if asks else None
        reason = printable(exchange.secrets.hide(response.reason))
        raise Failed(f"HTTP {response.status} {reason}".rstrip(), response.status, wish)
    body = exchange.body(request.max_size, keep_gzip=request.keep_gzip)
    digest = hashlib.sha256()
    for piece in body:
        digest.update(piece)
        write(piece)
    sizes = body.wire_bytes, body.size_bytes, digest.hexdigest()
    notes = tuple(sorted(body.notes))
    return Answer(response.status, headers, exchange.url, *sizes, body.has_end, notes, exchange.secrets)
