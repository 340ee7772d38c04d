"""The options that say how a server is reached, for every section that makes requests.

A settings class declares the options that it has under these names; the functions here find their faults.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from aggregator.config.hints import shorten
from aggregator.config.settings import Doc, FilePath, Text, WebUrl, choice
from aggregator.http.proxies import NONE, parse_proxy
from aggregator.http.route import DIRECT, Credentials, Route, Tls

Proxy = Annotated[
    Text,
    Doc(
        "the proxy to ask through, http://HOST:PORT or https://HOST:PORT, of which 443 may be left out; none = no "
        "proxy; not given = as HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the environment have it"
    ),
]
CaFile = Annotated[
    FilePath,
    Doc("PEM file of authorities to trust besides the system's, or of the intermediate that the server leaves out"),
]
ClientCert = Annotated[FilePath, Doc("PEM file of the certificate that the server is shown, with its chain")]
ClientKey = Annotated[FilePath, Doc("PEM file of its key, not encrypted; none given = it stands in client_cert")]
AuthKind = Annotated[
    str,
    choice("basic", "bearer", "digest", "oauth2"),
    Doc("how to say who asks; oauth2 = a token for client_id and client_secret from token_url"),
]
Username = Annotated[Text, Doc("for auth = basic or digest")]
Password = Annotated[Text, Doc("for auth = basic or digest; best as %(ENV_NAME)s")]
Token = Annotated[Text, Doc("for auth = bearer; best as %(ENV_NAME)s")]
ClientId = Annotated[Text, Doc("for auth = oauth2")]
ClientSecret = Annotated[Text, Doc("for auth = oauth2; best as %(ENV_NAME)s")]
TokenUrl = Annotated[WebUrl, Doc("for auth = oauth2: where tokens are handed out")]
Scope = Annotated[Text, Doc("for auth = oauth2: what the token is to be good for")]

_NEEDED = {
    "basic": ("username", "password"),
    "digest": ("username", "password"),
    "bearer": ("token",),
    "oauth2": ("client_id", "client_secret", "token_url"),
}
_MORE = {"oauth2": ("scope",)}
_OF_AUTH = ("username", "password", "token", "client_id", "client_secret", "token_url", "scope")


def route_of(settings: Any, root: Path) -> Route:
    """Return the route of a section without faults."""
    kind = getattr(settings, "auth", None)
    files = [getattr(settings, name, None) for name in Tls._fields]
    if not (kind or settings.proxy or any(files)):
        return DIRECT  # one object for all, because most feeds need no other
    texts = {name: getattr(settings, name, None) or "" for name in _OF_AUTH}
    tls = Tls(*(str(root / file) if file else "" for file in files))
    return Route(settings.proxy or "", tls, Credentials(kind, **texts) if kind else None)


def faults_of(settings: Any) -> Iterator[tuple[str, str]]:
    """Yield (option, fault) for the faults of a section's options, except its files. No fault shows a secret."""
    proxy = settings.proxy
    if proxy is not None and proxy != NONE:
        try:
            parse_proxy(proxy, needs_port=True)
        except ValueError as error:
            yield "proxy", f"bad proxy: {error}"
    if getattr(settings, "client_key", None) and not settings.client_cert:
        yield "client_key", "client_cert is missing, which it is the key of"
    yield from _faults_of_auth(settings)


def _faults_of_auth(settings: Any) -> Iterator[tuple[str, str]]:
    kind = getattr(settings, "auth", None)
    needed = _NEEDED.get(kind or "", ())
    for name in needed:
        if getattr(settings, name) is None:
            yield name, f"missing; auth = {kind} needs it"
    for name in _OF_AUTH:
        value = getattr(settings, name, None)
        if value is None:
            continue
        if name not in (*needed, *_MORE.get(kind or "", ())):
            users = " or ".join(auth for auth in _NEEDED if name in (*_NEEDED[auth], *_MORE.get(auth, ())))
            yield name, f"not used; it is for auth = {users}"
        elif name == "token" and not (value.isascii() and value.isprintable() and " " not in value):
            yield name, "bad token; allowed: one word of ASCII"
        elif name == "username" and kind == "basic" and ":" in value:
            yield name, "a colon cannot stand in it"
        elif name == "token_url" and (urlsplit(value).username is not None):
            yield name, "a login in the address is not sent; use client_id and client_secret"


def faults_of_files(route: Route) -> Iterator[tuple[str, str]]:
    """Yield (option, fault) for files of a route that cannot be used."""
    # imported only where files are checked
    import ssl

    from aggregator.http.tls import load

    for option in ("ca_file", "client_cert"):
        only = Tls(**{option: getattr(route.tls, option)})
        if option == "client_cert":
            only = only._replace(client_key=route.tls.client_key)
        try:
            load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), only)
        except ssl.SSLError as error:
            reason = str(getattr(error, "reason", None) or error.args[-1])
            shown = reason.replace("_", " ").lower()
            if reason.startswith("["):
                own_key = "; a key in a file of its own is client_key" if option == "client_cert" else ""
                shown = f"no certificate{' and key' if option == 'client_cert' else ''} in it{own_key}"
            yield option, f"cannot be used: {shown}; a PEM file is wanted"
        except OSError as error:
            yield option, f"cannot be read: {error.strerror} ({shorten(getattr(route.tls, option), 200)})"
