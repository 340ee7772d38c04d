"""Take URLs apart, and find where a redirect leads."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from aggregator.http.framing import Broken

LONGEST_URL = 8192
"""The longest URL of a redirect. Servers need not take longer ones (RFC 9110, 4.1), and taking a URL apart costs
time."""
PORTS = {"http": 80, "https": 443}
RESERVED = "!#$%&'()*+,/:;=?@[]~"
"""The marks that stay as they are in a path and query; other marks are percent-encoded."""


class Refused(Exception):
    """The connection must not be made; the text says why."""


class Origin(NamedTuple):
    """The server that a request goes to."""

    scheme: str
    host: str
    port: int

    @property
    def header(self) -> str:
        """The value of `Host`. The zone of an address concerns this machine only, and is left out."""
        host = f"[{self.host.partition('%')[0]}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def origin_of(url: str) -> Origin:
    """Return the server that a URL leads to. Raises ValueError, and Refused for another protocol."""
    parts = urlsplit(url)
    if parts.scheme not in PORTS:
        raise Refused(f"a redirect to {printable(parts.scheme)}:, which is neither http nor https")
    host = parts.hostname or ""
    if ":" in host:
        host = unquote(host)  # the zone of an address is written with %25 (RFC 6874)
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    if not host or not host.isprintable() or " " in host:
        raise ValueError("a URL without a host")
    return Origin(parts.scheme, host, parts.port or PORTS[parts.scheme])


def target_of(parts: SplitResult) -> str:
    """Return the target in a request's first line: the path and the query."""
    path = quote(parts.path or "/", safe=RESERVED)
    return f"{path}?{quote(parts.query, safe=RESERVED)}" if parts.query else path


def login_of(url: str) -> str:
    """Return the `Authorization` that the login in a URL stands for; '' when there is none."""
    parts = urlsplit(url)
    if parts.username is None:
        return ""
    return basic(unquote(parts.username), unquote(parts.password or ""))


def basic(username: str, password: str) -> str:
    """Return the `Authorization` of a name and a password. Source: RFC 7617."""
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


def is_at_home(home: Origin, origin: Origin) -> bool:
    """True for the configured server, also after its redirect from http to https, on the usual ports of both."""
    upgraded = Origin("https", home.host, 443) if (home.scheme, home.port) == ("http", 80) else home
    return origin in (home, upgraded)


def next_url(url: str, status: int, lines: Iterable[str]) -> str:
    """Return where a redirect with these `Location` headers leads. Raises Broken when that is not one place."""
    locations = set(lines)
    if len(locations) > 1:
        raise Broken(f"HTTP {status} with {len(locations)} different Locations")
    location = "".join(locations).strip()
    if not location:
        raise Broken(f"HTTP {status} without a Location")
    if len(location) > LONGEST_URL:
        raise Broken(f"a redirect to an address of {len(location)} bytes; at most {LONGEST_URL} are followed")
    # headers are read as Latin-1; servers mean UTF-8
    return urljoin(url, location.encode("latin-1").decode("utf-8", "replace"))


def printable(text: str) -> str:
    """Return a text from another party in a form that is safe in a record."""
    shown = text[:200].encode("ascii", "backslashreplace").decode()
    return "".join(character if character.isprintable() else " " for character in shown).strip()
