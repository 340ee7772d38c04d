"""Connections to web servers: kept alive, none waited for beyond a deadline, none to where it must not lead.

The standard library's response parser reads from a socket of ours, whose every wait ends at one deadline: a timeout
for each read, as usual, would let a server that sends a byte now and then go on for ever.
"""

from __future__ import annotations

import io
import select
import socket
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aggregator.http.addresses import Resolve, resolve
from aggregator.http.dialing import LOOK_S, Stopping, connect, secure
from aggregator.http.framing import Response

IDLE_S = 120.0
"""How long an unused connection is kept."""
MOST_IDLE = 512
"""How many are kept in all; each costs a file descriptor."""


class Refused(Exception):
    """The connection must not be made; the text says why."""


class Origin(NamedTuple):
    """What a connection belongs to."""

    scheme: str
    host: str
    port: int


class Connection:
    """One open connection. Every wait ends at `deadline`, on the monotonic clock."""

    def __init__(self, sock: socket.socket, public: bool, stopping: Callable[[], bool]) -> None:
        self.sock = sock
        self.public = public
        self._stopping = stopping
        self.deadline = 0.0
        self.used = False
        self.idle_since = 0.0

    def get(self, target: str, headers: Sequence[tuple[str, str]], deadline: float) -> Response:
        """Send a request and return the answer as far as its headers."""
        self.deadline = deadline
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
        self._arm()
        self.sock.sendall("\r\n".join(lines).encode("latin-1"))
        response = Response(self, method="GET")  # type: ignore[arg-type]
        response.begin()
        return response

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return what the response reads from; closing it leaves the connection open."""
        return io.BufferedReader(_Incoming(self), 64 * 1024)

    def receive(self, buffer: memoryview) -> int:
        """Read what is there."""
        while True:
            self._arm()
            try:
                return self.sock.recv_into(buffer)
            except TimeoutError:
                if time.monotonic() >= self.deadline:
                    raise

    def _arm(self) -> None:
        left_s = self.deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        if self._stopping():
            raise Stopping
        self.sock.settimeout(min(left_s, LOOK_S))

    def is_quiet(self) -> bool:
        """True while the server has neither closed an idle connection nor sent what nobody asked for."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN | select.POLLHUP | select.POLLERR)
        return not poll.poll(0)

    def close(self) -> None:
        """End it."""
        self.sock.close()


class _Incoming(io.RawIOBase):
    """The readable side of a connection, for a buffer on top."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._connection.receive(buffer)


class Connections:
    """Open connections, and keep those that can be used again. Safe to use from several threads."""

    def __init__(
        self,
        resolve: Resolve = resolve,
        stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolve = resolve
        self._stopping = stopping
        self._clock = clock
        self._idle: OrderedDict[Connection, Origin] = OrderedDict()
        self._by_origin: dict[Origin, list[Connection]] = {}
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None

    def take(self, origin: Origin, *, public_only: bool) -> Connection | None:
        """Return an idle connection, or None."""
        while True:
            with self._lock:
                kept = self._by_origin.get(origin)
                if not kept:
                    return None
                connection = kept.pop()
                del self._idle[connection]
                if not kept:
                    del self._by_origin[origin]
            fresh = self._clock() - connection.idle_since < IDLE_S
            if fresh and (connection.public or not public_only) and connection.is_quiet():
                return connection
            connection.close()

    def give(self, origin: Origin, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end."""
        connection.used, connection.idle_since = True, self._clock()
        with self._lock:
            self._idle[connection] = origin
            self._by_origin.setdefault(origin, []).append(connection)
            oldest = self._pop_oldest() if len(self._idle) > MOST_IDLE else None
        if oldest is not None:
            oldest.close()

    def _pop_oldest(self) -> Connection:
        connection, origin = self._idle.popitem(last=False)
        kept = self._by_origin[origin]
        kept.remove(connection)
        if not kept:
            del self._by_origin[origin]
        return connection

    def open(self, origin: Origin, deadline: float, *, public_only: bool) -> Connection:
        """Return a new connection. Raises OSError, or Refused when no address is allowed."""
        addresses = self._resolve(origin.host, origin.port)
        allowed = [address for address in addresses if address.public or not public_only]
        if not allowed:
            raise Refused(f"{origin.host} is not a public address; allow_private = yes would follow")
        for number, address in enumerate(allowed):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            # an address that swallows everything must leave time for the next
            until = time.monotonic() + left_s / (len(allowed) - number)
            try:
                sock = connect(address, until, self._stopping)
                if origin.scheme == "https":
                    sock = secure(sock, self._context(), origin.host, deadline, self._stopping)
                return Connection(sock, address.public, self._stopping)
            except OSError:
                if number == len(allowed) - 1:
                    raise
        raise AssertionError("unreachable: the last address returns or raises")

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                self._tls = ssl.create_default_context()
            return self._tls

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle = list(self._idle)
            self._idle.clear()
            self._by_origin.clear()
        for connection in idle:
            connection.close()
