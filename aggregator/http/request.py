"""A request to a server, and the bounds of its answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

from aggregator.http.route import DIRECT, Route

MOST_REDIRECTS = 5
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Request(NamedTuple):
    """One request, and the bounds of its answer."""

    url: str
    deadline_s: float | None
    """The time for the whole exchange, from the name's resolution to the last byte; None for a stream, which has no
    end."""
    idle_s: float | None = None
    """How long the server may be silent."""
    opening_s: float | None = None
    """The time until the answer's headers are there; None when only the bounds above count."""
    headers: Mapping[str, str] = NO_HEADERS
    """Headers by lower-case names. They may hold secrets, and are sent to the URL's own server only."""
    everywhere: Mapping[str, str] = NO_HEADERS
    """Headers that are sent wherever a redirect leads; they hold no secrets."""
    method: str = "GET"
    body: bytes | None = None
    """The body may hold secrets, and is sent to the URL's own server only."""
    encodings: tuple[str, ...] = ("gzip",)
    """How the answer's body may be packed: gzip, deflate, zstd, and br where the package brotli is installed."""
    follow: int = MOST_REDIRECTS
    """How many redirects are followed at most; with 0 a redirect is the answer."""
    allow_private: bool = False
    """True to follow redirects from a public address to a private one."""
    route: Route = DIRECT
    tunnel: bool = False
    """True when another protocol is to follow on an http server's answer: an http proxy is asked for a tunnel then."""
    secrets: Collection[str] = ()
    """Further secrets that stand in the request, such as a key in the path of the URL: no error shows them. Logins,
    credentials, the request's own headers, and parameters that are named like a secret are known without this."""
