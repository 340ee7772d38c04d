"""What servers on sockets of tests share: the connections, the threads, and the end of both."""

from __future__ import annotations

import socket
import ssl
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import BinaryIO, Self


class SocketServer(ABC):
    """A server with a thread for each connection; as a context manager it is started and stopped.

    With `tls` it is spoken to in TLS.
    """

    def __init__(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        self._listener = listener
        self._tls = tls
        self.port: int = listener.getsockname()[1]
        self.connections = 0
        """How many connections came."""
        self._stop = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    @abstractmethod
    def talk(self, sock: socket.socket, incoming: BinaryIO, line: bytes, number: int) -> None:
        """Answer one request, whose first line was read; `number` is that of the connection."""

    def __enter__(self) -> Self:
        self._start(threading.Thread(target=self._accept, daemon=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        # a thread in accept() does not notice that its socket is closed
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the other side was quicker
        for thread in self._threads:
            thread.join(10)

    def _start(self, thread: threading.Thread) -> None:
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(sock)
            self.connections += 1
            self._start(threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True))

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            if self._tls is not None:
                self._open.discard(sock)
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._open.add(sock)
            with sock, sock.makefile("rb") as incoming:
                while line := incoming.readline():
                    self.talk(sock, incoming, line, number)
        except OSError:
            return  # the other side has gone, or the test has told us to cut it
        finally:
            self._open.discard(sock)


def read_headers(incoming: BinaryIO) -> dict[str, str]:
    """Return the headers that come, by lower-case names."""
    headers = {}
    while (line := incoming.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers
