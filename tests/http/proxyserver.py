"""A proxy on 127.0.0.1: it forwards http, opens tunnels for https, and resolves names by a table of its own."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlsplit


class Passed(NamedTuple):
    """A request that came to the proxy."""

    method: str
    target: str
    headers: dict[str, str]


class ProxyServer:
    """The proxy; as a context manager it is started and stopped. With `tls` it is spoken to in TLS."""

    def __init__(
        self, names: Mapping[str, int], login: str = "", tls: ssl.SSLContext | None = None, *, silent: bool = False
    ) -> None:
        """`names` says which port of this machine a host's name stands for; other hosts are what they are."""
        self._names = names
        self._login = login
        self._tls = tls
        self._silent = silent
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.port: int = self._listener.getsockname()[1]
        self.address = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.passed: list[Passed] = []
        self.refusal = "407 Proxy Authentication Required"
        self.connections = 0
        self._stop = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> ProxyServer:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has gone already
        for thread in self._threads:
            thread.join(10)

    def _start(self, run: object, *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        self._open.add(sock)
        try:
            if self._tls is not None:
                self._open.discard(sock)
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._open.add(sock)
            with sock, sock.makefile("rb") as incoming:
                while line := incoming.readline():
                    self._answer(sock, incoming, line)
        except OSError:
            return  # one of the sides has gone
        finally:
            self._open.discard(sock)

    def _answer(self, sock: socket.socket, incoming: object, line: bytes) -> None:
        method, target = line.decode().split()[:2]
        headers = {}
        while (header := incoming.readline()) not in (b"\r\n", b""):  # type: ignore[attr-defined]
            name, _, value = header.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        self.passed.append(Passed(method, target, headers))
        if self._silent:
            self._stop.wait()
        elif self._login and headers.get("proxy-authorization") != self._login:
            sock.sendall(f"HTTP/1.1 {self.refusal}\r\nContent-Length: 0\r\n\r\n".encode())
        elif method == "CONNECT":
            host, _, port = target.rpartition(":")
            with self._reach(host.strip("[]"), int(port)) as there:
                sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                _pipe(sock, there)
            raise ConnectionAbortedError
        else:
            self._forward(sock, incoming, method, target, headers)

    def _forward(
        self, sock: socket.socket, incoming: object, method: str, target: str, headers: dict[str, str]
    ) -> None:
        parts = urlsplit(target)
        body = incoming.read(int(headers.get("content-length", "0")))  # type: ignore[attr-defined]
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        kept = {name: value for name, value in headers.items() if name != "proxy-authorization"}
        head = "".join(f"{name}: {value}\r\n" for name, value in {**kept, "connection": "close"}.items())
        with self._reach(str(parts.hostname), parts.port or 80) as there:
            there.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
            with there.makefile("rb") as answer:
                length = 0
                while True:
                    line = answer.readline()
                    sock.sendall(line)
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                    if line in (b"\r\n", b""):
                        break
                sock.sendall(answer.read(length))

    def _reach(self, host: str, port: int) -> socket.socket:
        place = ("127.0.0.1", self._names[host]) if host in self._names else (host, port)
        there = socket.create_connection(place)
        self._open.add(there)
        return there


def _pipe(one: socket.socket, other: socket.socket) -> None:
    while True:
        ready = one.pending() if isinstance(one, ssl.SSLSocket) else 0
        for source in [one] if ready else select.select([one, other], [], [])[0]:
            data = source.recv(65536)
            if not data:
                return
            (other if source is one else one).sendall(data)
