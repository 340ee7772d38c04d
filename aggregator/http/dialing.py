"""Connect and shake hands, giving up at a deadline, or when the process is to end."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import time
from collections.abc import Callable

from aggregator.http.addresses import Address

LOOK_S = 1.0
"""How often a thread that waits for a server looks whether the process is to end."""


class Stopping(Exception):
    """The process is to end: whoever waits for a server gives up."""


def connect(address: Address, until: float, stopping: Callable[[], bool]) -> socket.socket:
    """Return a socket without a timeout of its own; `until` is on the monotonic clock. Raises OSError or Stopping."""
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        code = sock.connect_ex(address.sockaddr)
        if code == errno.EINPROGRESS:
            _wait(sock, select.POLLOUT, until, stopping)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def secure(
    sock: socket.socket, context: ssl.SSLContext, host: str, until: float, stopping: Callable[[], bool]
) -> ssl.SSLSocket:
    """Return the socket with TLS around it. Raises OSError or Stopping, with the socket closed."""
    try:
        sock = safe = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
        while True:
            try:
                safe.do_handshake()
                return safe
            except ssl.SSLWantReadError:
                _wait(safe, select.POLLIN, until, stopping)
            except ssl.SSLWantWriteError:
                _wait(safe, select.POLLOUT, until, stopping)
    except BaseException:
        sock.close()
        raise


def _wait(sock: socket.socket, events: int, until: float, stopping: Callable[[], bool]) -> None:
    poll = select.poll()
    poll.register(sock, events)
    while True:
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        if stopping():
            raise Stopping
        if poll.poll(min(left_s, LOOK_S) * 1000):
            return
