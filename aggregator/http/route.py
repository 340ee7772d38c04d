"""How a server is reached, and what it is shown: plain data, of which a configuration is made."""

from __future__ import annotations

from typing import NamedTuple


class Tls(NamedTuple):
    """Files, each '' when there is none."""

    ca_file: str = ""
    """Authorities to trust besides the system's; an intermediate is enough."""
    client_cert: str = ""
    client_key: str = ""
    """'' when the key stands in the file of the certificate."""


class Credentials(NamedTuple):
    """What somebody is known by; which of it counts depends on the kind. All but names and addresses is secret."""

    kind: str
    username: str = ""
    password: str = ""
    token: str = ""
    client_id: str = ""
    client_secret: str = ""
    token_url: str = ""
    scope: str = ""

    def __repr__(self) -> str:
        """Return its kind alone, as this may end up in a traceback."""
        return f"Credentials({self.kind})"


class Route(NamedTuple):
    """The way to a server."""

    proxy: str = ""
    """An address, which may hold a login, `none`, or '' for what the environment says."""
    tls: Tls = Tls()
    credentials: Credentials | None = None
    """They go to the server of the request's URL only."""

    def over(self, default: Route) -> Route:
        """Return this way, with what it leaves open as in `default`."""
        tls = self.tls._replace(ca_file=self.tls.ca_file or default.tls.ca_file)
        return Route(self.proxy or default.proxy, tls, self.credentials)

    def __repr__(self) -> str:
        """Return it without what may be secret."""
        return f"Route({self.tls}, {self.credentials})"


DIRECT = Route()
"""No more than the environment says."""
