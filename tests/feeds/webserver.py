"""A web server on 127.0.0.1 that answers each path as the test says, down to the bytes and the pace of them."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

from tests.servers import wait_until


class Asked(NamedTuple):
    """A request that came."""

    path: str
    headers: dict[str, str]
    """By lower-case names."""
    connection: int
    """The number of the connection it came by."""
    method: str = "GET"
    body: bytes = b""


class Talk:
    """One request, to be answered through a socket."""

    def __init__(self, sock: socket.socket, asked: Asked, stop: threading.Event) -> None:
        self.sock = sock
        self.asked = asked
        self.stop = stop

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)

    def answer(self, body: bytes = b"", status: str = "200 OK", **headers: str) -> None:
        """Send a whole answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("Content-Length", str(len(body)))
        head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        self.send(f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1") + body)

    def hang(self) -> None:
        """Say nothing until the server stops."""
        self.stop.wait()

    def cut(self) -> None:
        """Close the connection."""
        raise ConnectionAbortedError


Answer = Callable[[Talk], object]


def body(data: bytes, **headers: str) -> Answer:
    """Answer with these bytes."""
    return lambda talk: talk.answer(data, **headers)


def status(line: str, **headers: str) -> Answer:
    """Answer with a status and no body."""
    return lambda talk: talk.answer(b"", line, **headers)


def packed(data: bytes) -> Answer:
    """Answer with these bytes packed."""
    return lambda talk: talk.answer(gzip.compress(data), Content_Encoding="gzip")


def redirect(to: str, line: str = "302 Found") -> Answer:
    """Send elsewhere."""
    return status(line, Location=to)


def dribble(data: bytes, pause_s: float) -> Answer:
    """Announce a long body, and send a byte of it now and then."""

    def talk(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        for byte in data:
            talk.send(bytes([byte]))
            if talk.stop.wait(pause_s):
                return

    return talk


class WebServer:
    """The server; as a context manager it is started and stopped. With `tls` it speaks https."""

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=500)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'http' if tls is None else 'https'}://{f'[{host}]' if ':' in host else host}:{self.port}"
        self.answers: dict[str, Answer] = {}
        self.answer_all: Answer = status("404 Not Found")
        """What is answered to a path that is not among `answers`."""
        self.asked: list[Asked] = []
        self.delay_s = 0.0
        self._stop = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._connections = 0

    def count(self, path: str) -> int:
        """Return how many requests for a path came."""
        return sum(asked.path == path for asked in self.asked)

    def last(self, path: str) -> Asked:
        """Return the last request for a path."""
        return next(asked for asked in reversed(self.asked) if asked.path == path)

    def drop_connections(self) -> None:
        """Close all connections, as a server does that is restarted."""
        for sock in list(self._open):
            sock.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not self._open)

    def __enter__(self) -> WebServer:
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        self._threads.append(thread)
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

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(sock)
            self._connections += 1
            thread = threading.Thread(target=self._serve, args=(sock, self._connections), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            if self._tls is not None:
                self._open.discard(sock)
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._open.add(sock)
            with sock, sock.makefile("rb") as incoming:
                while line := incoming.readline():
                    method, path = (word.decode() for word in line.split()[:2])
                    headers = {}
                    while (line := incoming.readline()) not in (b"\r\n", b""):
                        name, _, value = line.decode("latin-1").partition(":")
                        headers[name.strip().lower()] = value.strip()
                    sent = incoming.read(int(headers.get("content-length", "0")))
                    asked = Asked(path, headers, number, method, sent)
                    self.asked.append(asked)
                    self._stop.wait(self.delay_s)
                    answer = self.answers.get(path, self.answer_all)
                    answer(Talk(sock, asked, self._stop))
        except OSError:
            return  # the other side has gone, or the test has told us to cut it
        finally:
            self._open.discard(sock)
