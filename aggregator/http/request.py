"""What to ask for, and within which bounds."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from aggregator.http.route import DIRECT, Route

MOST_REDIRECTS = 5
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Request(NamedTuple):
    """One question, and the bounds of its answer."""

    url: str
    deadline_s: float | None
    """For all of it, from the name's resolution to the last byte; None for a stream, which has no end."""
    idle_s: float | None = None
    """How long the server may say nothing."""
    headers: Mapping[str, str] = NO_HEADERS
    """By lower-case names. They may hold secrets: they go to the URL's own server only."""
    everywhere: Mapping[str, str] = NO_HEADERS
    """Headers that go wherever a redirect leads; they hold no secrets."""
    method: str = "GET"
    body: bytes | None = None
    """It may hold secrets too."""
    encodings: tuple[str, ...] = ("gzip",)
    """How the answer's body may be packed: gzip, deflate, zstd, and br where the package brotli is installed."""
    follow: int = MOST_REDIRECTS
    """So many redirects at most; with 0 a redirect is the answer."""
    allow_private: bool = False
    """Follow redirects from a public address to one that is none."""
    route: Route = DIRECT
