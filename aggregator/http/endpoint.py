"""GET requests to one address, over connections that are kept alive, bounded in time and size."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from aggregator import __version__
from aggregator.http.response import Response

MAX_BODY_BYTES = 64 * 1024
"""Of a longer answer the rest is not read; the connection is closed instead."""
_DRAIN_S = 5.0
"""A body nobody looks at may take so long, for the sake of the connection."""
_EXCERPT_BYTES = 200
_HEADERS = {"User-Agent": f"Aggregator/{__version__}", "Accept": "*/*"}


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
    """The server behind a URL. Safe to use from several threads: each has a connection of its own."""

    def __init__(self, url: str, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port
        self._path = parts.path or "/"
        self._query = parts.query
        self._timeout_s = timeout_s
        self._clock = clock
        self._tls = ssl.create_default_context() if self._secure else None
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: set[http.client.HTTPConnection] = set()

    def get(self, query: str) -> Answer:
        """Ask with this query string behind the URL's own. Raises Unanswered."""
        target = f"{self._path}?{self._query}&{query}" if self._query else f"{self._path}?{query}"
        connection = self._connection()
        reused = connection.sock is not None
        deadline = _Deadline(self._timeout_s, self._clock)
        try:
            try:
                return self._ask(connection, target, deadline)
            except (ConnectionError, http.client.BadStatusLine):
                # A server may close a connection that was idle while we write to it. That is nobody's failure: once
                # more, on a new one.
                connection.close()
                if not reused:
                    raise
                return self._ask(connection, target, deadline)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unanswered(_describe(error)) from error

    def close(self) -> None:
        """Close every thread's connection."""
        with self._lock:
            for connection in self._open:
                connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            if self._tls is not None:
                connection = http.client.HTTPSConnection(self._host, self._port, context=self._tls)
            else:
                connection = http.client.HTTPConnection(self._host, self._port)
            self._local.connection = connection
            with self._lock:
                self._open.add(connection)
        return connection

    def _ask(self, connection: http.client.HTTPConnection, target: str, deadline: _Deadline) -> Answer:
        connection.timeout = deadline.left()
        # one deadline for the whole answer: a timeout of http.client starts anew with every byte
        connection.response_class = deadline.response  # type: ignore[assignment]
        if connection.sock is not None:
            connection.sock.settimeout(deadline.left())
        connection.request("GET", target, headers=_HEADERS)
        with connection.getresponse() as response:
            deadline.shorten(_DRAIN_S)
            try:
                body = response.read(MAX_BODY_BYTES)
                whole = response.isclosed()
            except (OSError, http.client.HTTPException):
                body, whole = b"", False  # the status is known: what fails from here on is no failure
            if not whole:
                connection.close()
        return Answer(
            response.status,
            parse_retry_after(response.getheader("Retry-After") or "", time.time()),
            _shown(response.getheader("Location") or ""),
            " ".join(body[:_EXCERPT_BYTES].decode("utf-8", "replace").split()),
        )


def parse_retry_after(text: str, now: float) -> float | None:
    """Return the seconds that a Retry-After asks for, at most an hour; None when it says nothing."""
    try:
        wish = float(text) if text.strip().isdigit() else parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(wish, 0.0), 3600.0)


def _shown(address: str) -> str:
    text = address.partition("?")[0][:_EXCERPT_BYTES]
    return "".join(character if character.isprintable() else " " for character in text)


def _describe(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class _Deadline:
    """The moment by which an answer must have been read."""

    def __init__(self, timeout_s: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at = clock() + timeout_s

    def shorten(self, timeout_s: float) -> None:
        """End earlier than was meant."""
        self._at = min(self._at, self._clock() + timeout_s)

    def left(self) -> float:
        """Return the seconds left. Raises TimeoutError when there are none."""
        left = self._at - self._clock()
        if left <= 0:
            raise TimeoutError
        return left

    def response(self, sock: socket.socket, *args: Any, **options: Any) -> Response:
        """Make the response object of a connection."""
        return Response(_TimedSocket(sock, self), *args, **options)  # type: ignore[arg-type]


class _TimedSocket:
    """As much of a socket as a response needs."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return the stream to read the answer from."""
        return io.BufferedReader(_TimedReader(self._sock, self._deadline))


class _TimedReader(io.RawIOBase):
    """Read from a socket until the deadline, however slowly it dribbles."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._raw = sock.makefile("rb", buffering=0)  # keeps the socket open until it is closed itself

    def readable(self) -> bool:
        """Say so, for the buffer above."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what there is."""
        self._sock.settimeout(self._deadline.left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Let the socket go."""
        self._raw.close()
        super().close()
