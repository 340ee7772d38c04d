"""How a server is reached, and the credentials it is shown: plain data, made from a configuration."""

from __future__ import annotations

from typing import NamedTuple


class Tls(NamedTuple):
    """The files for TLS, each '' when there is none."""

    ca_file: str = ""
    """Authorities to trust besides the system's; an intermediate is enough."""
    client_cert: str = ""
    client_key: str = ""
    """'' when the key stands in the file of the certificate."""


class Credentials(NamedTuple):
    """How a client proves who it is; `kind` decides which fields count. All but names and addresses is secret."""

    kind: str
    username: str = ""
    password: str = ""
    token: str = ""
    client_id: str = ""
    client_secret: str = ""
    token_url: str = ""
    scope: str = ""

    def __repr__(self) -> str:
        """Return the kind alone, because the text may end up in a traceback."""
        return f"Credentials({self.kind})"


class Route(NamedTuple):
    """The way to a server."""

    proxy: str = ""
    """An address, which may hold a login; or `none`; or '' for the proxy that the environment names."""
    tls: Tls = Tls()
    credentials: Credentials | None = None
    """Credentials are sent to the server of the request's URL only."""

    def over(self, default: Route) -> Route:
        """Return this route, with the proxy and the authorities of `default` where it has none."""
        tls = self.tls._replace(ca_file=self.tls.ca_file or default.tls.ca_file)
        return Route(self.proxy or default.proxy, tls, self.credentials)

    def __repr__(self) -> str:
        """Return the route without its proxy, whose address may hold a login."""
        return f"Route({self.tls}, {self.credentials})"


DIRECT = Route()
"""The route that adds nothing to the environment's proxy."""
