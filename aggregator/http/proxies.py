"""Choose the proxy that a request goes through: the configured one, or the one that the environment names.

Source: the conventions of curl and Go for HTTP_PROXY, HTTPS_PROXY and NO_PROXY.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:  # a configuration is read without loading the client
    from aggregator.http.urls import Origin

_HOST = re.compile(r"[\w.-]+|[0-9a-fA-F:.]+(?:%[\w.-]+)?")
"""A name, perhaps with letters of any script, or an address."""
NONE = "none"
"""The word in a configuration for no proxy at all, whatever the environment names."""


class Proxy(NamedTuple):
    """A proxy's address, and the login that it asks for."""

    scheme: str
    host: str
    port: int
    authorization: str = ""
    """The value of `Proxy-Authorization`; a secret."""

    @property
    def shown(self) -> str:
        """The address as it may be shown."""
        return f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        """Return the address without the login, because the text may end up in a traceback."""
        return f"Proxy({self.scheme}://{self.shown})"


_USUAL_PORTS = {"http": 80, "https": 443}
"""The ports of addresses without one in the environment. For http it is Go's and Python's; curl takes 1080."""


def parse_proxy(text: str, *, needs_port: bool = False) -> Proxy:
    """Return the proxy at an address; without a scheme it is http. Raises ValueError, whose text shows no login.

    With `needs_port` an http address without a port is refused: users of curl and of other programs expect different
    ones.
    """
    parts = urlsplit(text.strip() if "://" in text else f"http://{text.strip()}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{parts.scheme[:20]} proxies are not spoken; allowed: http://HOST:PORT or https://HOST:PORT")
    if not host or not _HOST.fullmatch(host) or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(
            "it is no address such as http://proxy.example:3128, with a port up to 65535; / ? # @ in a login are "
            "written as %2F %3F %23 %40"
        )
    if needs_port and parts.scheme == "http" and not port:
        raise ValueError("it has no port, and programs differ in which they take for it; allowed: http://HOST:PORT")
    login = ""
    if parts.username is not None:
        text = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = f"Basic {base64.b64encode(text.encode()).decode()}"
    return Proxy(parts.scheme, host, port or _USUAL_PORTS[parts.scheme], login)


class Environment:
    """The proxies that the environment names."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._named = {
            name: (environ.get(name) or environ.get(name.upper()) or "").strip()
            for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
        }

    def choose(self, configured: str, origin: Origin) -> Proxy | None:
        """Return the proxy for a host, None for a direct connection; `configured` overrides the environment."""
        if configured:
            return None if configured == NONE else parse_proxy(configured)
        return self.proxy_for(origin)

    def proxy_for(self, origin: Origin) -> Proxy | None:
        """Return the environment's proxy for a host, None for a direct connection, as always to this machine.

        Raises ValueError for an address that is no proxy's.
        """
        name = f"{origin.scheme}_proxy"
        text = self._named[name] or self._named["all_proxy"]
        if not text or _is_loopback(origin.host) or self._is_excepted(origin):
            return None
        try:
            return parse_proxy(text)
        except ValueError as error:
            raise ValueError(f"{name.upper()} of the environment: {error}") from error

    def _is_excepted(self, origin: Origin) -> bool:
        return any(_covers(entry.lower(), origin) for entry in re.split(r"[,\s]+", self._named["no_proxy"]))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def _covers(entry: str, origin: Origin) -> bool:
    """True when an entry of NO_PROXY covers a host: `*`, a name and all names below it, an address, a network."""
    if not entry or entry == "*":
        return bool(entry)
    host = origin.host.rstrip(".").lower()
    try:
        network = ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        name, colon, port = entry.rpartition(":") if "]" not in entry[-1:] else (entry, "", "")
        if colon and port.isdigit():
            return int(port) == origin.port and _covers(name, origin)
        name = _as_resolved(entry.removeprefix("*").strip("."))
        return bool(name) and (host == name or host.endswith(f".{name}"))
    try:
        return ipaddress.ip_address(host.partition("%")[0]) in network
    except ValueError:
        return False


def _as_resolved(name: str) -> str:
    """Return a name in the letters that it is resolved by, as an `Origin` has it."""
    try:
        return name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        return name  # no host has such a name
