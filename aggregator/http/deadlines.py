"""Sockets whose every wait ends at one deadline, or when the process is to end.

The usual timeout for each read would let a server go on for ever by sending a byte now and then. A stream has no end
and therefore no deadline; for a stream the silence between two bytes is bounded.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from aggregator.http.addresses import Address

LOOK_S = 0.5
"""How often a thread that waits for a server checks whether the process is to end: it ends within a second."""
STAGGER_S = 0.25
"""How long one address is tried alone before the next is tried beside it. Source: RFC 8305, section 5."""
_T = TypeVar("_T")


class Stopping(Exception):
    """The process is to end: every wait for a server is given up."""


class Deadline:
    """The moment by which an exchange must be over, and how long the server may be silent until then."""

    def __init__(
        self,
        seconds: float | None,
        idle_s: float | None = None,
        stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without `seconds` there is no deadline; without `idle_s` silence may last until the deadline."""
        self.clock = clock
        self._stopping = stopping
        self._idle_s = idle_s
        self._at = None if seconds is None else clock() + seconds

    def within(self, seconds: float) -> Deadline:
        """Return a deadline that ends after `seconds`, or with this one if that is earlier."""
        sooner = Deadline(seconds, self._idle_s, self._stopping, self.clock)
        if self._at is not None and sooner._at is not None:
            sooner._at = min(self._at, sooner._at)
        return sooner

    def left_s(self, quiet_since: float | None = None) -> float | None:
        """Return the seconds left, None when nothing bounds the wait. Raises TimeoutError when none are left."""
        ends = [] if self._at is None else [self._at]
        if self._idle_s is not None and quiet_since is not None:
            ends.append(quiet_since + self._idle_s)
        if not ends:
            return None
        left_s = min(ends) - self.clock()
        if left_s <= 0:
            raise TimeoutError
        return left_s

    def wait_s(self, quiet_since: float | None = None) -> float:
        """Return how long to wait before asking again. Raises TimeoutError or Stopping."""
        left_s = self.left_s(quiet_since)
        if self._stopping():
            raise Stopping
        return LOOK_S if left_s is None else min(left_s, LOOK_S)


class _Patient:
    """The waits of a socket, cut into pieces that end at a deadline."""

    deadline: Deadline

    def _patiently(self, call: Callable[..., _T], *args: Any) -> _T:
        quiet_since = self.deadline.clock()
        while True:
            self.settimeout(self.deadline.wait_s(quiet_since))  # type: ignore[attr-defined]
            try:
                return call(*args)
            except TimeoutError:
                continue  # one piece of the wait is over; the deadline says whether another follows

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of `data`."""
        left = memoryview(data).cast("B")
        while left:
            left = left[self.send(left, flags) :]  # type: ignore[attr-defined]


class Socket(_Patient, socket.socket):
    """A TCP socket whose waits end at a deadline."""

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Read the bytes that have arrived."""
        return self._patiently(super().recv_into, buffer, nbytes, flags)

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Return the bytes that have arrived; TLS within TLS reads in this way."""
        return self._patiently(super().recv, bufsize, flags)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send some of `data`, and return how many bytes."""
        return self._patiently(super().send, data, flags)


class TlsSocket(_Patient, ssl.SSLSocket):
    """A TLS socket whose waits end at a deadline."""

    def do_handshake(self, block: bool = False) -> None:
        """Agree on keys, and check the other side's certificate."""
        self._patiently(super().do_handshake)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Read the bytes that have arrived."""
        return self._patiently(super().recv_into, buffer, nbytes, flags)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Return the bytes that have arrived."""
        return self._patiently(super().recv, buflen, flags)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send some of `data`, and return how many bytes."""
        return self._patiently(super().send, data, flags)


def connect(addresses: Sequence[Address], deadline: Deadline) -> tuple[Socket, Address]:
    """Return a socket, connected to the address that answers first. Raises OSError, TimeoutError or Stopping.

    The addresses are tried in their order, IPv6 and IPv4 in turn. An address that never answers holds up the next
    address for a quarter of a second only.
    """
    waiting, trying, last = _in_turn(addresses), _Attempts(), OSError("no address")
    try:
        while waiting or trying.pending:
            alone_until = time.monotonic() + STAGGER_S
            if waiting:
                address = waiting.pop(0)
                sock, error = trying.begin(address)
                if sock is not None:
                    return _ready(sock, deadline), address
                if error is not None:
                    last = error
                    continue
            while trying.pending:
                left_s = alone_until - time.monotonic() if waiting else LOOK_S
                if left_s <= 0:
                    break
                found, error = trying.wait(min(left_s, deadline.wait_s()))
                if found is not None:
                    return _ready(found[0], deadline), found[1]
                if error is not None:
                    last = error
                    break
        raise last
    finally:
        trying.close()


def _in_turn(addresses: Sequence[Address]) -> list[Address]:
    """Return the addresses with their two families in turn, beginning with the family that the system prefers."""
    first = [address for address in addresses if address.family == addresses[0].family]
    other = [address for address in addresses if address.family != addresses[0].family]
    both = [address for pair in zip(first, other, strict=False) for address in pair]
    return [*both, *first[len(other) :], *other[len(first) :]]


def _ready(sock: Socket, deadline: Deadline) -> Socket:
    sock.deadline = deadline
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class _Attempts:
    """Connections that are being made."""

    def __init__(self) -> None:
        self.pending: dict[int, tuple[Socket, Address]] = {}
        self._poll = select.poll()

    def begin(self, address: Address) -> tuple[Socket | None, OSError | None]:
        """Begin to connect to an address. Returns the socket or the error when it is known at once."""
        sock = Socket(address.family, socket.SOCK_STREAM)
        sock.setblocking(False)
        code = sock.connect_ex(address.sockaddr)
        if not code:
            return sock, None
        if code != errno.EINPROGRESS:
            sock.close()
            return None, OSError(code, os.strerror(code))
        self.pending[sock.fileno()] = sock, address
        self._poll.register(sock, select.POLLOUT)
        return None, None

    def wait(self, seconds: float) -> tuple[tuple[Socket, Address] | None, OSError | None]:
        """Return the first connected socket and its address, or the error of a connection that failed."""
        error = None
        for fd, _ in self._poll.poll(seconds * 1000):
            self._poll.unregister(fd)
            sock, address = self.pending.pop(fd)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not code:
                return (sock, address), None
            sock.close()
            error = OSError(code, os.strerror(code))
        return None, error

    def close(self) -> None:
        """Give up the connections that are not made yet."""
        for sock, _ in self.pending.values():
            sock.close()
