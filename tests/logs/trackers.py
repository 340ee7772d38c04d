"""Trackers that misbehave in every way a server can, on 127.0.0.1."""

from __future__ import annotations

import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Answering = Callable[["Connection"], None]


class Connection:
    """One request to be answered."""

    def __init__(self, tracker: Tracker, handler: socketserver.StreamRequestHandler, target: str) -> None:
        self.tracker = tracker
        self.wfile = handler.wfile
        self.target = target
        self.close_after = False

    def answer(self, status: int, body: bytes = b"OK\n", *headers: str) -> None:
        """Send a whole answer."""
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
        self.wfile.write("\r\n".join(lines).encode() + body)

    def dribble(self, data: bytes) -> None:
        """Send byte after byte for ever."""
        while not self.tracker.closing.wait(0.02):
            self.wfile.write(data)

    def stall(self) -> None:
        """Say nothing until the tracker closes."""
        self.tracker.closing.wait()


class Tracker(socketserver.ThreadingTCPServer):
    """Answer each request by `answering`; remember what was asked."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answering: Answering, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self._scheme = "https" if tls is not None else "http"
        self.answering = answering
        self.targets: list[str] = []
        self.connections = 0
        self.at_once = 0
        self.most_at_once = 0
        self.closing = threading.Event()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.server_address[1]}/counter"

    @property
    def params(self) -> list[list[tuple[str, str]]]:
        """What was asked, decoded."""
        return [parse_qsl(urlsplit(target).query, keep_blank_values=True) for target in self.targets]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that closes its connection is no error."""


class _Handler(socketserver.StreamRequestHandler):
    server: Tracker

    def handle(self) -> None:
        with self.server.lock:
            self.server.connections += 1
        while line := self.rfile.readline():
            target = line.split()[1].decode()
            while self.rfile.readline().strip():
                pass
            with self.server.lock:
                self.server.targets.append(target)
                self.server.at_once += 1
                self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
            connection = Connection(self.server, self, target)
            try:
                with suppress(ConnectionError):
                    self.server.answering(connection)
            finally:
                with self.server.lock:
                    self.server.at_once -= 1
            if connection.close_after:
                return


@contextmanager
def tracker(answering: Answering, tls: ssl.SSLContext | None = None) -> Iterator[Tracker]:
    """Run a tracker, with `tls` one that speaks HTTPS."""
    with Tracker(answering, tls) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


def in_turn(*answers: Answering) -> Answering:
    """Answer the first request so, the second so, and the rest as the last."""
    waiting = list(answers)

    def answering(connection: Connection) -> None:
        with connection.tracker.lock:
            answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        answer(connection)

    return answering


def status(code: int, body: bytes = b"OK\n", *headers: str) -> Answering:
    """Answer with this status."""
    return lambda connection: connection.answer(code, body, *headers)
