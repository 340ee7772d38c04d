"""A proxy on 127.0.0.1: it forwards http, opens tunnels for https, and resolves names by a table of its own."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple
from urllib.parse import urlsplit

from tests.socketserver import SocketServer, read_headers


class Passed(NamedTuple):
    """A request that came to the proxy."""

    method: str
    target: str
    headers: dict[str, str]


class ProxyServer(SocketServer):
    """The proxy. With `tls` it is spoken to in TLS."""

    def __init__(
        self, names: Mapping[str, int], login: str = "", tls: ssl.SSLContext | None = None, *, silent: bool = False
    ) -> None:
        """`names` says which port of this machine a host's name stands for; other hosts are what they are."""
        super().__init__(socket.create_server(("127.0.0.1", 0), backlog=50), tls)
        self._names = names
        self._login = login
        self._silent = silent
        self.address = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.passed: list[Passed] = []
        self.refusal = "407 Proxy Authentication Required"

    def talk(self, sock: socket.socket, incoming: BinaryIO, line: bytes, number: int) -> None:
        """Pass the request on, unless its sender must log in first."""
        method, target = line.decode().split()[:2]
        headers = read_headers(incoming)
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
        self, sock: socket.socket, incoming: BinaryIO, method: str, target: str, headers: dict[str, str]
    ) -> None:
        parts = urlsplit(target)
        body = incoming.read(int(headers.get("content-length", "0")))
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
