"""A web server on 127.0.0.1 that answers each path as the test says, down to the bytes and the pace of them."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from tests.servers import wait_until
from tests.socketserver import SocketServer, read_headers


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


class WebServer(SocketServer):
    """The server. With `tls` it speaks https."""

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__(socket.create_server((host, 0), family=family, backlog=500), tls)
        self.url = f"{'http' if tls is None else 'https'}://{f'[{host}]' if ':' in host else host}:{self.port}"
        self.answers: dict[str, Answer] = {}
        self.answer_all: Answer = status("404 Not Found")
        """What is answered to a path that is not among `answers`."""
        self.asked: list[Asked] = []
        self.delay_s = 0.0

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

    def talk(self, sock: socket.socket, incoming: BinaryIO, line: bytes, number: int) -> None:
        """Answer as the test says."""
        method, path = (word.decode() for word in line.split()[:2])
        headers = read_headers(incoming)
        sent = incoming.read(int(headers.get("content-length", "0")))
        asked = Asked(path, headers, number, method, sent)
        self.asked.append(asked)
        self._stop.wait(self.delay_s)
        answer = self.answers.get(path, self.answer_all)
        answer(Talk(sock, asked, self._stop))
