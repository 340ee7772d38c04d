"""Ask by the client, as its users do."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trustme

from aggregator.http.client import Client
from aggregator.http.connections import Connections
from aggregator.http.request import Request
from aggregator.http.route import Route, Tls
from tests.feeds.webserver import WebServer


@contextmanager
def client(**options: Any) -> Iterator[Client]:
    """Run a client that knows nothing of this process's environment."""
    connections = options.pop("connections", None)
    made = Client("tests/1", connections or Connections(), **{"environ": {}, **options})
    yield made
    made.close()


def get(asking: Client, url: str, **options: Any) -> tuple[int, bytes]:
    """Ask, and return the status and the body."""
    with asking.open(Request(url, options.pop("deadline_s", 60.0), **options)) as exchange:
        assert exchange.status is not None
        return exchange.status, b"".join(exchange.body(10_000_000))


class Authority:
    """Somebody who issues certificates, and the file that says so."""

    def __init__(self, folder: Path, authority: trustme.CA | None = None) -> None:
        self.folder = folder
        self.authority = authority or trustme.CA()
        self.file = folder / f"ca-{id(self)}.pem"
        self.authority.cert_pem.write_to_path(str(self.file))

    def serving(self, *names: str) -> ssl.SSLContext:
        """Return what a server speaks TLS with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names).configure_cert(context)
        return context

    def route(self, **options: Any) -> Route:
        """Return a route that trusts it."""
        return Route(tls=Tls(ca_file=str(self.file)), **options)


def on_all_names(server: WebServer) -> Callable[[str, int], Any]:
    """Return what resolves names below .example to a server, as if they were in the open Internet."""
    import socket

    from aggregator.http.addresses import Address, resolve

    def found(host: str, port: int) -> list[Address]:
        if host.endswith(".example"):
            return [Address(socket.AF_INET, ("127.0.0.1", server.port), True)]
        return resolve(host, port)

    return found
