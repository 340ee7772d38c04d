"""The request that opens a stream."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit

from aggregator.config.installation import pip_install
from aggregator.errors import ConfigError
from aggregator.http.masking import mask_parameters, names_a_secret
from aggregator.http.options import route_of
from aggregator.http.request import Request
from aggregator.streams.credentials import CredentialSettings
from aggregator.streams.platforms.jetstream import DICTIONARY, SUBPROTOCOL, Dictionary, parameters_of
from aggregator.streams.platforms.limits import split
from aggregator.streams.platforms.table import JETSTREAM_V2, PLATFORMS
from aggregator.streams.settings import StreamSettings
from aggregator.streams.transports.websocket import question

OPENING_S = 60.0
"""How long it may take until a platform has answered; a stream's silence is bounded by itself."""


def request_of(
    settings: StreamSettings,
    credential: CredentialSettings | None,
    last_id: str,
    root: Path,
    dictionary: Dictionary | None = None,
) -> Request:
    """Return the request for a stream, which goes on behind the event with `last_id` where the platform can.

    Jetstream is asked for messages that are packed with `dictionary`. Raises ConfigError when a package that the
    credential needs is not installed.
    """
    platform = PLATFORMS[settings.type]
    url, parameters = _address(settings), _parameters(settings)
    method, body = "GET", b""
    headers = {"accept": "text/event-stream"} if platform.transport == "sse" else {}
    everywhere: Mapping[str, str] = {}
    if platform.transport == "websocket":
        everywhere = question(SUBPROTOCOL if settings.endpoint == JETSTREAM_V2 else "")
    if settings.type == "jetstream":
        parameters = [*parameters_of(settings, dictionary, last_id), *parameters]
    elif platform.resumes and last_id:
        # as UTF-8, which the HTTP client would write a header in by itself only where it is Latin-1 as well
        headers["last-event-id"] = last_id.encode().decode("latin-1")
    if settings.type == "twitter_v1" and settings.endpoint == "filter":
        method, body = "POST", urlencode(parameters, quote_via=quote).encode()
        headers["content-type"] = "application/x-www-form-urlencoded"
    elif parameters:
        url += ("&" if "?" in url else "?") + urlencode(parameters, quote_via=quote)
    if credential is not None:
        headers["authorization"] = _authorization(credential, url, method, body, headers)
    return Request(
        url,
        deadline_s=None,
        idle_s=settings.stall_after or platform.stall_s,
        opening_s=OPENING_S,
        headers=headers,
        everywhere=everywhere,
        method=method,
        body=body or None,
        allow_private=settings.allow_private,
        route=route_of(settings, root),
        tunnel=platform.transport == "websocket",
        # those of a body would not be known
        secrets=[value for name, value in parameters if names_a_secret(name)],
    )


def filters_of(settings: StreamSettings) -> dict[str, str]:
    """Return what a section asks for, by the names of its options, without secrets; those it does not have are left
    out."""
    names = ("track", "follow", "locations", "language", "collections", "parameters")
    return {name: shown_option(name, text) for name in names if (text := getattr(settings, name))}


def dictionary_request(settings: StreamSettings, root: Path) -> Request:
    """Return the request for the dictionary that a server of Jetstream packs messages with."""
    url = urljoin(_web_address(settings), DICTIONARY)
    return Request(url, OPENING_S, encodings=(), allow_private=settings.allow_private, route=route_of(settings, root))


def shown_option(name: str, text: str) -> str:
    """Return the value of an option as it may be recorded and shown: without logins, and without the values of
    parameters that are named like a secret."""
    if name == "parameters":
        return mask_parameters(f"?{text}")[1:]
    return masked(text) if name in ("url", "proxy") else text


def masked(url: str) -> str:
    """Return an address without its login, and with stars for the values of parameters that are named like a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:  # a draft may have any text
        return "***"
    return mask_parameters(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())


def _address(settings: StreamSettings) -> str:
    platform = PLATFORMS[settings.type]
    base = _web_address(settings)
    endpoint = settings.endpoint or platform.default
    if not endpoint:
        return base
    if settings.type == "mastodon":
        base = urljoin(base, "/api/v1/streaming/")
    path = dict(platform.endpoints).get(endpoint, endpoint)
    return f"{base.rstrip('/')}/{quote(path, safe='/,')}"


def _web_address(settings: StreamSettings) -> str:
    """Return where a stream's endpoints are. A WebSocket begins as HTTP: ws:// is http:// and wss:// is https://."""
    url = settings.url or PLATFORMS[settings.type].url
    return f"http{url[2:]}" if url.startswith(("ws:", "wss:")) else url


def _parameters(settings: StreamSettings) -> list[tuple[str, str]]:
    found = []
    if settings.type == "twitter_v1":
        found += [("delimited", "length"), ("stall_warnings", "true")]
        names = PLATFORMS["twitter_v1"].filters
        found += [(name, ",".join(parts)) for name in names if (parts := split(getattr(settings, name)))]
    elif settings.type == "mastodon" and settings.track:
        found.append(("tag", settings.track.strip().removeprefix("#")))
    elif settings.backfill_minutes:
        found.append(("backfill_minutes", str(settings.backfill_minutes)))
    return [*found, *parse_qsl(settings.parameters or "", keep_blank_values=True)]


def _authorization(
    credential: CredentialSettings, url: str, method: str, body: bytes, headers: Mapping[str, str]
) -> str:
    if credential.kind in ("bearer", "token"):
        return f"Bearer {credential.bearer_token or credential.token}"
    if credential.kind == "basic":
        return f"Basic {b64encode(f'{credential.username}:{credential.password}'.encode()).decode()}"
    try:
        from oauthlib.oauth1 import Client  # an optional package, which only one kind of credential needs
    except ImportError as error:
        raise ConfigError(f"OAuth 1.0a needs a package: {pip_install('oauthlib')} ({error})") from error
    # at the level DEBUG it would write the access token into the log
    logging.getLogger("oauthlib").setLevel(logging.WARNING)
    signer = Client(
        credential.consumer_key, credential.consumer_secret, credential.access_token, credential.access_token_secret
    )
    typed = {"Content-Type": headers["content-type"]} if "content-type" in headers else {}
    _, signed, _ = signer.sign(url, http_method=method, body=body.decode() or None, headers=typed)
    return str(signed["Authorization"])
