"""One download: ask, follow a few redirects, check, and pass the body on piece by piece, bounded in size and time."""

from __future__ import annotations

import base64
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException, IncompleteRead
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from aggregator.feeds.reading.dates import read_moment
from aggregator.http.body import Broken, read_body
from aggregator.http.connections import Connection, Connections, Origin, Refused
from aggregator.http.framing import Response
from aggregator.http.heads import BadHead

MOST_REDIRECTS = 5
LONGEST_URL = 8192
"""Of a redirect. Servers need not take longer ones (RFC 9110, 4.1), and taking an address apart costs time."""
DRAIN_BYTES = 64 * 1024
"""The body of an answer that is no publication is read this far, to keep the connection; a longer one ends it."""
DRAIN_S = 1.0
"""And not for longer than this."""
_REDIRECTS = (301, 302, 303, 307, 308)
_RESERVED = "!#$%&'()*+,/:;=?@[]~"
"""What a path and query keep as it is; all else is percent-encoded."""


class Request(NamedTuple):
    """What to ask for."""

    url: str
    headers: Mapping[str, str]
    """Those of the feed, which may hold secrets: they go to its own server only."""
    timeout_s: float
    max_size: int
    allow_private: bool = False
    etag: str = ""
    modified: str = ""
    keep_gzip: bool = False
    """Leave a body packed that is gzip without its headers saying so."""


class Answer(NamedTuple):
    """A whole answer: 200 with a body, or 304 without."""

    status: int
    headers: dict[str, str]
    """By lower-case names."""
    url: str
    """Where it came from in the end."""
    wire_bytes: int = 0
    size_bytes: int = 0
    sha256: str = ""
    has_end: bool = True
    """False when nothing but the end of the connection said where the body ends: it may be cut."""


class Failed(Exception):
    """There is no whole answer; the text says why."""

    def __init__(self, reason: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after_s = retry_after_s


class Fetcher:
    """Download from any server. Safe to use from several threads."""

    def __init__(self, user_agent: str, connections: Connections | None = None) -> None:
        self.user_agent = user_agent
        self.connections = connections or Connections()

    def fetch(self, request: Request, write: Callable[[bytes], object]) -> Answer:
        """Return the answer; its body, unpacked, goes to `write` in pieces.

        Raises Failed, perhaps when some of the body has been written. What `write` raises goes through.
        """
        download = _Download(self, request, write)
        try:
            return download.run()
        except TimeoutError as error:
            raise Failed(f"no whole answer within {request.timeout_s:g} s", download.status) from error
        except IncompleteRead as error:
            raise Failed("the answer broke off", download.status) from error
        except (Broken, Refused, OSError, HTTPException, ValueError) as error:
            raise Failed(_words(error), download.status) from error


class _Download:
    """One request and where it leads."""

    def __init__(self, fetcher: Fetcher, request: Request, write: Callable[[bytes], object]) -> None:
        self.fetcher = fetcher
        self.request = request
        self.write = write
        self.deadline = time.monotonic() + request.timeout_s
        self.status: int | None = None
        self.public_only = False

    def run(self) -> Answer:
        url = self.request.url
        for _ in range(MOST_REDIRECTS + 1):
            with self._ask(url) as exchange:
                response = exchange.response
                self.status = response.status
                if response.status not in _REDIRECTS:
                    return self._read(exchange, url)
                # once in the open, never back into a private network
                self.public_only |= exchange.connection.public and not self.request.allow_private
                url = _next_url(url, response)
                exchange.drain()
        raise Failed(f"more than {MOST_REDIRECTS} redirects", self.status)

    def _ask(self, url: str) -> _Exchange:
        """Send the request over a kept connection, or a new one when there is none or it turns out to be closed."""
        parts = urlsplit(url)
        origin = _origin(parts)
        connections = self.fetcher.connections
        kept = connections.take(origin, public_only=self.public_only)
        if kept is not None:
            # closed just now, before a byte of an answer: not this request's fault
            with suppress(ConnectionError):
                return self._exchange(origin, kept, parts)
        fresh = connections.open(origin, self.deadline, public_only=self.public_only)
        return self._exchange(origin, fresh, parts)

    def _exchange(self, origin: Origin, connection: Connection, parts: SplitResult) -> _Exchange:
        path = quote(parts.path or "/", safe=_RESERVED)
        target = f"{path}?{quote(parts.query, safe=_RESERVED)}" if parts.query else path
        try:
            response = connection.get(target, self._headers(origin), self.deadline)
        except BaseException:
            connection.close()
            raise
        return _Exchange(self.fetcher.connections, origin, connection, response)

    def _headers(self, origin: Origin) -> list[tuple[str, str]]:
        usual_port = {"http": 80, "https": 443}[origin.scheme]
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        headers = {
            "host": host if origin.port == usual_port else f"{host}:{origin.port}",
            "user-agent": self.fetcher.user_agent,
            "accept": "*/*",
            "accept-encoding": "gzip",
        }
        if self.request.etag:
            headers["if-none-match"] = self.request.etag
        if self.request.modified:
            headers["if-modified-since"] = self.request.modified
        home = urlsplit(self.request.url)
        if _is_at_home(_origin(home), origin):
            if home.username is not None:
                text = f"{unquote(home.username)}:{unquote(home.password or '')}"
                headers["authorization"] = f"Basic {base64.b64encode(text.encode()).decode()}"
            headers |= self.request.headers
        return list(headers.items())

    def _read(self, exchange: _Exchange, url: str) -> Answer:
        response = exchange.response
        headers = {name.lower(): value for name, value in response.getheaders()}
        if response.status == 304 and (self.request.etag or self.request.modified):
            exchange.drain()
            return Answer(304, headers, url)
        if response.status not in (200, 203):
            exchange.drain()
            reason = f"HTTP {response.status} {_printable(response.reason)}".rstrip()
            raise Failed(reason, response.status, _retry_after(response.status, headers))
        packings = [packing for packing in response.listed("content-encoding") if packing.lower() != "identity"]
        encoding, keep = ", ".join(filter(None, packings)), self.request.keep_gzip
        body = read_body(response, encoding, self.request.max_size, self.write, keep_gzip=keep)
        exchange.done = True
        return Answer(response.status, headers, url, *body)


class _Exchange:
    """A question asked and its answer; at the end the connection is kept if the answer was read to its end."""

    def __init__(self, connections: Connections, origin: Origin, connection: Connection, response: Response) -> None:
        self.connections = connections
        self.origin = origin
        self.connection = connection
        self.response = response
        self.done = False

    def drain(self) -> None:
        """Read the rest of an answer nobody wants, if that is short and comes soon; it is told of anyway."""
        length = self.response.length
        if length is None or length > DRAIN_BYTES or self.response.chunked:
            return
        self.connection.deadline = min(self.connection.deadline, time.monotonic() + DRAIN_S)
        with suppress(OSError, HTTPException):
            self.response.read()
            self.done = True

    def __enter__(self) -> _Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()
        if self.done and not self.response.will_close:
            self.connections.give(self.origin, self.connection)
        else:
            self.connection.close()


def _origin(parts: SplitResult) -> Origin:
    """Return what a URL's connection belongs to. Raises ValueError, and Refused for another protocol."""
    if parts.scheme not in ("http", "https"):
        raise Refused(f"a redirect to {_printable(parts.scheme)}:, which is neither http nor https")
    host = parts.hostname or ""
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    if not host or not host.isprintable() or " " in host:
        raise ValueError("a URL without a host")
    return Origin(parts.scheme, host, parts.port or (443 if parts.scheme == "https" else 80))


def _is_at_home(home: Origin, origin: Origin) -> bool:
    """True for the feed's own server, also when it sends us on from http to https, on the usual ports of both."""
    upgraded = Origin("https", home.host, 443) if (home.scheme, home.port) == ("http", 80) else home
    return origin in (home, upgraded)


def _next_url(url: str, response: Response) -> str:
    locations = set(response.headers.get_all("location", ()))
    if len(locations) > 1:
        raise Broken(f"HTTP {response.status} with {len(locations)} different Locations")
    location = "".join(locations).strip()
    if not location:
        raise Broken(f"HTTP {response.status} without a Location")
    if len(location) > LONGEST_URL:
        raise Broken(f"a redirect to an address of {len(location)} bytes; at most {LONGEST_URL} are followed")
    # headers are read as Latin-1; servers mean UTF-8
    return urljoin(url, location.encode("latin-1").decode("utf-8", "replace"))


def _retry_after(status: int, headers: Mapping[str, str]) -> float | None:
    """Return how many seconds the server asks us to wait, None when it does not."""
    text = headers.get("retry-after", "").strip()
    if status not in (429, 503) or not text:
        return None
    if text.isdecimal() and text.isascii():
        return float(text[:9])
    try:
        until = read_moment(text)
    except ValueError:
        return None
    try:
        server_now = read_moment(headers.get("date", ""))
    except ValueError:
        server_now = time.time()
    return max(until - server_now, 0.0)


def _words(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return f"the host's name cannot be resolved: {error.strerror}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    kind = "" if isinstance(error, BadHead | Broken | Refused) else f"{type(error).__name__}: "
    return _printable(f"{kind}{error}")


def _printable(text: str) -> str:
    """Return somebody else's text as it may stand in a record."""
    shown = text[:200].encode("ascii", "backslashreplace").decode()
    return "".join(character if character.isprintable() else " " for character in shown).strip()
