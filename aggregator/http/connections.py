"""Connections to web servers: kept alive, bounded by deadlines, and never made to a forbidden address.

urllib3's connections write requests, open tunnels through proxies and put TLS around them; the sockets and the answers
are ours. docs/decisions/0005 says why urllib3's pool and responses are not used.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from http import client
from typing import Any, NamedTuple

from aggregator.http.addresses import Address, Resolve, names_a_private_place, resolve
from aggregator.http.deadlines import Deadline, Socket, TlsSocket, connect
from aggregator.http.failures import describe_tls
from aggregator.http.framing import Broken, Response
from aggregator.http.lookups import Lookups
from aggregator.http.proxies import Proxy
from aggregator.http.route import Tls
from aggregator.http.tls import Contexts
from aggregator.http.urllib3parts import HTTPConnection, HTTPSConnection, ProxyConfig, Url
from aggregator.http.urls import Origin, Refused

IDLE_S = 120.0
"""How long an unused connection is kept."""
MOST_IDLE = 512
"""How many unused connections are kept in all; each costs a file descriptor."""


class Link(NamedTuple):
    """The target of a connection: two requests may share a connection only when all of these fields are the same."""

    origin: Origin
    proxy: Proxy | None = None
    tls: Tls = Tls()
    tunnel: bool = False
    """True for a tunnel through the proxy also to an http server."""


class _Guarded(HTTPConnection):
    """A urllib3 connection whose waits end at a deadline and which leads to one of the allowed addresses."""

    response_class = Response
    public = False
    idle_since = 0.0
    was_at_proxy = False
    """True when connecting failed behind the proxy."""
    _asked: Any = None
    """The socket of the request that was asked last: http.client forgets it when the answer ends the connection."""

    def reach(self, addresses: Sequence[Address], deadline: Deadline) -> None:
        """Connect to one of these addresses. A failure closes the connection."""
        self._addresses = addresses
        self._deadline = deadline
        try:
            self.connect()
        except BaseException:
            self.was_at_proxy = self.has_connected_to_proxy
            self.close()
            raise

    def _new_conn(self) -> Socket:
        sock, address = connect(self._addresses, self._deadline)
        self.public = address.public
        return sock

    def end_at(self, deadline: Deadline) -> None:
        """Let every wait from now on end at this deadline."""
        wire = self.sock or self._asked
        # https through an https proxy is TLS within TLS: there the outer socket waits
        for sock in (wire, getattr(wire, "socket", None)):
            if isinstance(sock, Socket | TlsSocket):
                sock.deadline = deadline

    def ask(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, deadline: Deadline
    ) -> Response:
        """Send a request and return the answer, read as far as its headers. A failure closes the connection."""
        self.end_at(deadline)
        try:
            self.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                client.HTTPConnection.putheader(self, name, value)
            if body is not None:
                client.HTTPConnection.putheader(self, "content-length", str(len(body)))
            self.endheaders(body)
            self._asked = self.sock
            # urllib3's own method would wrap this answer in one that takes a cut or doubtful body for whole
            response = client.HTTPConnection.getresponse(self)
        except BaseException:
            self.close()
            raise
        assert isinstance(response, Response)
        return response


class _Plain(_Guarded):
    """A connection without TLS."""


class _Secure(_Guarded, HTTPSConnection):
    """A connection with TLS."""


Connection = _Plain | _Secure


class Connections:
    """Open connections, and keep those that can be used again. Safe to use from several threads."""

    def __init__(
        self,
        resolve: Resolve = resolve,
        stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stopping = stopping
        self._lookups = Lookups(resolve)
        self._clock = clock
        self._idle: OrderedDict[Connection, Link] = OrderedDict()
        self._by_link: dict[Link, list[Connection]] = {}
        self._lock = threading.Lock()
        self._contexts = Contexts()

    def take(self, link: Link, *, public_only: bool) -> Connection | None:
        """Return an idle connection, or None."""
        while True:
            with self._lock:
                kept = self._by_link.get(link)
                if not kept:
                    return None
                connection = kept.pop()
                del self._idle[connection]
                if not kept:
                    del self._by_link[link]
            fresh = self._clock() - connection.idle_since < IDLE_S
            # bytes to read mean that the server closed the connection, or sent an answer that nobody asked for
            if fresh and (connection.public or not public_only) and connection.is_connected:
                return connection
            connection.close()

    def give(self, link: Link, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end."""
        connection.idle_since = self._clock()
        with self._lock:
            self._idle[connection] = link
            self._by_link.setdefault(link, []).append(connection)
            oldest = self._pop_oldest() if len(self._idle) > MOST_IDLE else None
        if oldest is not None:
            oldest.close()

    def _pop_oldest(self) -> Connection:
        connection, link = self._idle.popitem(last=False)
        kept = self._by_link[link]
        kept.remove(connection)
        if not kept:
            del self._by_link[link]
        return connection

    def open(self, link: Link, deadline: Deadline, *, public_only: bool) -> Connection:
        """Return a new connection. Raises OSError, Broken for a proxy's failure, or Refused for a private address."""
        if link.proxy is not None:
            return self._open_through(link.proxy, link, deadline, public_only=public_only)
        origin = link.origin
        found = self._lookups.resolve(origin.host, origin.port, deadline)
        allowed = [address for address in found if address.public or not public_only]
        if not allowed:
            raise _refused(origin.host)
        connection = self._make(link, origin.scheme, {"host": origin.host, "port": origin.port})
        connection.reach(allowed, deadline)
        return connection

    def _open_through(self, proxy: Proxy, link: Link, deadline: Deadline, *, public_only: bool) -> Connection:
        """Return a connection to a proxy, which for https is a tunnel to the host behind it."""
        private = names_a_private_place(link.origin.host)
        if public_only and private:
            raise _refused(link.origin.host)
        options: dict[str, Any] = {"host": proxy.host, "port": proxy.port, "proxy": Url(proxy.scheme)}
        if proxy.scheme == "https":
            options["proxy_config"] = ProxyConfig(self._contexts.get(Tls(link.tls.ca_file)), False, None, None)
        scheme = link.origin.scheme if link.origin.scheme == "https" else proxy.scheme
        connection = self._make(link, scheme, options)
        try:
            connection.reach(self._lookups.resolve(proxy.host, proxy.port, deadline), deadline)
        except TimeoutError:
            raise
        except ssl.SSLError as error:
            if connection.was_at_proxy:
                raise  # TLS within the tunnel is the host's own
            raise Broken(f"the proxy {proxy.shown}: {describe_tls(error, None)}") from error
        except OSError as error:
            raise Broken(f"the proxy {proxy.shown}: {error.strerror or error}") from error
        connection.public = not private
        return connection

    def _make(self, link: Link, scheme: str, options: dict[str, Any]) -> Connection:
        connection: Connection
        if scheme == "https":
            connection = _Secure(**options, ssl_context=self._contexts.get(link.tls))
        else:
            connection = _Plain(**options)
        if link.proxy is not None and (link.origin.scheme == "https" or link.tunnel):
            login = {"Proxy-Authorization": link.proxy.authorization} if link.proxy.authorization else {}
            connection.set_tunnel(link.origin.host, link.origin.port, login, scheme=link.proxy.scheme)
        return connection

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle = list(self._idle)
            self._idle.clear()
            self._by_link.clear()
        for connection in idle:
            connection.close()


def _refused(host: str) -> Refused:
    return Refused(f"{host} is not a public address; allow_private = yes would follow")
