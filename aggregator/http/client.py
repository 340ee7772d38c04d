"""The one HTTP client: ask, follow a few redirects, and read an answer piece by piece, bounded in size and time.

    with client.open(Request(url, deadline_s=60.0)) as exchange:
        for piece in exchange.body(max_size=50_000_000): ...

A stream is asked for with `deadline_s=None` and an `idle_s`, and its body is read with `max_size=None`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from socket import socket
from types import TracebackType
from urllib.parse import urlsplit

from aggregator.http.auth import Auths, Told
from aggregator.http.bodies import Body
from aggregator.http.connections import Connection, Connections, Link
from aggregator.http.cookies import Cookies
from aggregator.http.deadlines import Deadline
from aggregator.http.failures import describe
from aggregator.http.framing import Broken, Response
from aggregator.http.proxies import Environment
from aggregator.http.request import Request
from aggregator.http.secrets import Secrets, of_credentials, of_header, of_url
from aggregator.http.urls import Origin, Refused, is_at_home, login_of, next_url, origin_of, target_of

DRAIN_BYTES = 64 * 1024
"""A body that nobody wants is read up to this size, to keep the connection; a longer body ends the connection."""
DRAIN_S = 1.0
"""How long the reading of a body that nobody wants may take."""
REDIRECTS = (301, 302, 303, 307, 308)
FAILURES = (Broken, Refused, OSError, HTTPException, ValueError)
"""The exceptions that asking and reading may raise, besides Stopping."""
LARGEST_TOKEN = 64 * 1024
_TOKEN_S = 60.0
_REPEATABLE = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
"""Methods that may be sent again when a kept connection turns out to be closed. Source: RFC 9110, section 9.2.2."""


class Client:
    """Ask any server. Safe to use from several threads."""

    def __init__(
        self,
        user_agent: str,
        connections: Connections | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.user_agent = user_agent
        self.connections = connections or Connections()
        self.clock = clock
        self.auths = Auths(clock)
        self.environment = Environment(environ)

    def open(self, request: Request) -> Exchange:
        """Return the exchange, which sends the request when it is entered as a context manager."""
        return Exchange(self, request)

    def close(self) -> None:
        """Close the connections that are kept."""
        self.connections.close()


class Exchange:
    """One request, its redirects, and the answer. Entering it raises one of FAILURES, or Stopping.

    Leaving it keeps the connection if the answer was read to its end.
    """

    def __init__(self, client: Client, request: Request) -> None:
        self.url = request.url
        """The URL that the answer comes from; before any redirect, the URL of the request."""
        self.status: int | None = None
        """The status of the last answer that came, also when a later step fails."""
        self._client = client
        self._request = request
        self._method, self._body = request.method, request.body
        self._cookies = Cookies()
        self._said: set[str] = set()
        """The logins and tokens that were sent, as they stood in headers."""
        self._public_only = False
        self._held: tuple[Link, Connection, Response] | None = None

    def __enter__(self) -> Exchange:
        request, client = self._request, self._client
        whole = Deadline(request.deadline_s, request.idle_s, client.connections.stopping, client.clock)
        self._deadline = whole if request.opening_s is None else whole.within(request.opening_s)
        try:
            self._home = self._origin = origin_of(request.url)
            self._travel()
            self._deadline = whole
            self._connection.end_at(whole)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    @property
    def response(self) -> Response:
        """The answer as it came."""
        assert self._held is not None, "the exchange is over, or has not begun"
        return self._held[2]

    @property
    def headers(self) -> dict[str, str]:
        """The answer's headers by lower-case names; of a repeated header the last value."""
        return {name.lower(): value for name, value in self.response.getheaders()}

    @property
    def secrets(self) -> Secrets:
        """What was sent and must not be shown, though the answer or an error may repeat it."""
        request = self._request
        found = [*request.secrets, *of_url(request.url)]
        for name, value in (*request.headers.items(), *(("authorization", said) for said in self._said)):
            found += of_header(name, value)
        if request.route.credentials:
            found += of_credentials(request.route.credentials)
        return Secrets(found)

    def describe(self, error: Exception) -> str:
        """Return the words for one of FAILURES that this exchange raised, without what was sent in secret."""
        return describe(error, self.secrets, self._request.route.tls)

    def body(self, max_size: int | None, *, keep_gzip: bool = False) -> Body:
        """Return the body, to be iterated over. Raises Broken."""
        return Body(self.response, max_size, self._request.encodings, keep_gzip=keep_gzip)

    def excerpt(self, size: int, within_s: float) -> bytes:
        """Return the beginning of the body, not unpacked; empty when it does not come in time."""
        self._connection.end_at(self._deadline.within(within_s))
        with suppress(OSError, HTTPException, Broken):
            return self.response.read(size)
        return b""

    def take_over(self, idle_s: float) -> tuple[socket, bytes]:
        """Return the socket of an answer 101 and the bytes that came behind its headers, which another protocol goes on
        with.

        Its waits raise TimeoutError after `idle_s` of silence, and Stopping; leaving the exchange closes it.
        """
        connection, client = self._connection, self._client
        # with no time left, only the bytes that were read already are there to be seen
        connection.end_at(self._deadline.within(0.0))
        rest = b""
        with suppress(TimeoutError):
            rest = self.response.fp.peek()
        connection.end_at(Deadline(None, idle_s, client.connections.stopping, client.clock))
        return connection.sock, rest

    @property
    def _connection(self) -> Connection:
        assert self._held is not None, "the exchange is over, or has not begun"
        return self._held[1]

    def drain(self) -> None:
        """Read a body that nobody wants, if it is short and comes soon; the answer counts in either case."""
        length = self.response.length
        if length is not None and length <= DRAIN_BYTES and not self.response.chunked:
            self.excerpt(DRAIN_BYTES, DRAIN_S)

    def _travel(self) -> None:
        """Ask, and follow redirects."""
        for _ in range(self._request.follow + 1):
            self._ask()
            if self.status not in REDIRECTS or not self._request.follow:
                return
            self._turn()
            self.drain()
            self._release()
            self._origin = origin_of(self.url)
        raise Broken(f"more than {self._request.follow} redirects")

    def _ask(self) -> None:
        """Ask one server, and once more when its answer is a 401 that another `Authorization` may satisfy."""
        origin = self._origin
        is_home = is_at_home(self._home, origin)
        if self._body is not None and not is_home:
            raise Refused("a redirect to another server, which is not sent the body")
        credentials = self._request.route.credentials
        auth = self._client.auths.get(credentials) if credentials and is_home else None
        target = target_of(urlsplit(self.url))
        login = login_of(self._request.url) if is_home and "@" in self._request.url else ""
        for is_last in (False, True):
            own = {"authorization": login} if login else {}
            if auth is not None and (value := auth.header(self._method, target, self._ask_token, self._left_s())):
                own["authorization"] = value
            self._said |= set(own.values())
            if is_home:
                own |= self._request.headers
            self._send(origin, target, own)
            if auth is None or is_last or self.status != 401:
                return
            challenges = self.response.headers.get_all("www-authenticate", [])
            if not auth.is_worth_another(challenges, own.get("authorization", ""), self._left_s()):
                return
            self.drain()
            self._release()

    def _send(self, origin: Origin, target: str, own: Mapping[str, str]) -> None:
        """Send the request over a kept connection, or a new one when there is none or it turns out to be closed."""
        route, connections = self._request.route, self._client.connections
        proxy = self._client.environment.choose(route.proxy, origin)
        # a proxy that is spoken to in TLS cannot give a tunnel without TLS in it
        tunnel = self._request.tunnel and proxy is not None and proxy.scheme == "http"
        link = Link(origin, proxy, route.tls, tunnel)
        if proxy is not None and proxy.authorization:
            self._said.add(proxy.authorization)
        headers = {
            "host": origin.header,
            "user-agent": self._client.user_agent,
            "accept": "*/*",
            "accept-encoding": ", ".join(self._request.encodings) or "identity",
            **self._request.everywhere,
            **own,
        }
        if self._cookies and (cookies := self._cookies.header(origin, target.partition("?")[0])):
            headers["cookie"] = f"{own['cookie']}; {cookies}" if "cookie" in own else cookies
        if proxy is not None and origin.scheme == "http" and not tunnel:
            target = f"http://{origin.header}{target}"
            if proxy.authorization:
                headers["proxy-authorization"] = proxy.authorization
        question = self._method, target, headers, self._body
        if self._method in _REPEATABLE and (kept := connections.take(link, public_only=self._public_only)):
            # the kept connection was closed before a byte of an answer came: not this request's fault
            with suppress(ConnectionError):
                self._hold(link, kept, kept.ask(*question, self._deadline))
                return
        fresh = connections.open(link, self._deadline, public_only=self._public_only)
        self._hold(link, fresh, fresh.ask(*question, self._deadline))

    def _hold(self, link: Link, connection: Connection, response: Response) -> None:
        self._held = link, connection, response
        self.status = response.status
        if lines := response.headers.get_all("set-cookie"):
            self._cookies.take(lines, link.origin, urlsplit(self.url).path or "/")

    def _turn(self) -> None:
        """Prepare the request to which a redirect leads."""
        assert self._held is not None and self.status is not None
        _, connection, response = self._held
        # after a public address, never go to a private network
        self._public_only |= connection.public and not self._request.allow_private
        self.url = next_url(self.url, self.status, response.headers.get_all("location", ()))
        if self.status == 303 or (self.status in (301, 302) and self._method == "POST"):
            self._method, self._body = ("HEAD" if self._method == "HEAD" else "GET"), None

    def _release(self) -> None:
        """Keep the connection when its answer was read to the end, and close it otherwise."""
        if self._held is None:
            return
        (link, connection, response), self._held = self._held, None
        is_whole = response.isclosed() and not response.length and not response.will_close and response.status != 101
        response.close()
        if is_whole and connection.sock is not None:
            self._client.connections.give(link, connection)
        else:
            connection.close()

    def _left_s(self) -> float:
        left_s = self._deadline.left_s()
        return _TOKEN_S if left_s is None else left_s

    def _ask_token(self, url: str, headers: Mapping[str, str], body: bytes) -> Told:
        """Ask a token server, within the time that is left."""
        route = self._request.route._replace(credentials=None)
        request = Request(
            url, self._left_s(), headers=headers, method="POST", body=body, encodings=(), follow=0, route=route
        )
        with Exchange(self._client, request) as exchange:
            return Told(exchange.response.status, exchange.excerpt(LARGEST_TOKEN, _TOKEN_S))
