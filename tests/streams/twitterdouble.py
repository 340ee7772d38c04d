"""A double of Twitter's and X's streams: it checks who asks and for what, and plays what a test gives it."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from oauthlib.oauth1 import RequestValidator, SignatureOnlyEndpoint

from aggregator.streams.credentials import CredentialSettings
from tests.feeds.webserver import Talk, WebServer
from tests.streams.xproject import PATH, TOKEN, Project

WIRE = (Path(__file__).parent / "data/derived-filter-stream.http").read_bytes()
"""A whole answer, byte for byte: 31 messages, 4 keep-alives."""
OAUTH = CredentialSettings(
    consumer_key="consumerkey0123456789",
    consumer_secret="consumer&secret",
    access_token="accesstoken0123456789",
    access_token_secret="access secret/=",
)
BEARER = CredentialSettings(bearer_token=TOKEN)
Play = Callable[[Talk], object]


def payload(wire: bytes = WIRE) -> bytes:
    """Return what an answer holds, unpacked as far as it came; the chunks are taken apart by another way than ours."""
    head, _, rest = wire.partition(b"\r\n\r\n")
    assert b"chunked" in head
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        if not rest or not int(size, 16):
            break
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return zlib.decompressobj(31).decompress(body)


def messages(text: bytes) -> list[bytes]:
    """Return the whole messages of an answer."""
    return [line for line in text.split(b"\r\n")[:-1] if line]


def delimited(text: bytes) -> bytes:
    """Return an answer with the length of each message before it; keep-alives have none."""
    lines = text.split(b"\r\n")
    return b"".join(b"%d\r\n%s\r\n" % (len(line) + 2, line) if line else b"\r\n" for line in lines[:-1])


def raw(pieces: Iterable[bytes]) -> Play:
    """Send bytes as they are, and close the connection."""

    def play(talk: Talk) -> None:
        for piece in pieces:
            talk.send(piece)
        talk.cut()

    return play


def chunks(pieces: Iterable[bytes], *, packed: bool = False, end: bool = False, silent: bool = False) -> Play:
    """Send an answer in chunks, one for each piece; then close the connection, or say nothing more."""

    def play(talk: Talk) -> None:
        packing = "Content-Encoding: gzip\r\n" if packed else ""
        talk.send(f"HTTP/1.1 200 OK\r\n{packing}Transfer-Encoding: chunked\r\n\r\n".encode())
        for piece in _packed(pieces) if packed else pieces:
            talk.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        if end:
            talk.send(b"0\r\n\r\n")
        if silent:
            talk.hang()
        talk.cut()

    return play


def _packed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    stream = zlib.compressobj(wbits=31)
    for piece in pieces:
        yield stream.compress(piece) + stream.flush(zlib.Z_SYNC_FLUSH)


class Validator(RequestValidator):  # type: ignore[misc]
    """Knows one application and one account."""

    enforce_ssl = False
    client_key_length = access_token_length = (10, 60)
    dummy_client = "dummydummydummy"
    nonces: set[str]

    def __init__(self) -> None:
        super().__init__()
        self.nonces = set()

    def validate_client_key(self, client_key: str, request: Any) -> bool:
        return client_key == OAUTH.consumer_key

    def validate_timestamp_and_nonce(
        self, client_key: str, timestamp: str, nonce: str, *args: Any, **more: Any
    ) -> bool:
        fresh = nonce not in self.nonces and abs(int(timestamp) - time.time()) < 60
        self.nonces.add(nonce)
        return fresh

    def get_client_secret(self, client_key: str, request: Any) -> Any:
        return OAUTH.consumer_secret

    def get_access_token_secret(self, client_key: str, token: str, request: Any) -> Any:
        return OAUTH.access_token_secret if token == OAUTH.access_token else "wrong"


class Double:
    """The server; each connection is answered by the next play, and after the last one in silence."""

    def __init__(self, *plays: Play) -> None:
        self.plays = list(plays)
        self.server = WebServer()
        self.project = Project()
        """The rules of X's filtered stream."""
        self.asked_at: list[float] = []
        self.forms: list[list[tuple[str, str]]] = []
        self.faults: list[str] = []
        """What was wrong with a question."""
        self._validator = Validator()

    @property
    def v1(self) -> str:
        """The address of v1.1."""
        return f"{self.server.url}/1.1/"

    @property
    def v2(self) -> str:
        """The address of v2."""
        return f"{self.server.url}/2/"

    def waits(self) -> list[float]:
        """Return the seconds between the questions."""
        return [later - earlier for earlier, later in zip(self.asked_at, self.asked_at[1:], strict=False)]

    def __enter__(self) -> Double:
        outer = self

        class Answers(dict[str, Any]):
            def get(self, path: str, default: Any = None) -> Any:
                return outer._answer

        self.server.answers = Answers()
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__(None, None, None)

    def _answer(self, talk: Talk) -> None:
        if urlsplit(talk.asked.path).path == PATH:
            self.project.answer(talk)
            return
        self.asked_at.append(time.monotonic())
        fault = self._fault(talk)
        if fault:
            self.faults.append(fault)
            talk.answer(
                b'{"errors":[{"message":"Could not authenticate you","code":32}]}', "401 Authorization Required"
            )
            return
        if self.plays:
            self.plays.pop(0)(talk)
            return
        talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        talk.hang()
        talk.cut()

    def _fault(self, talk: Talk) -> str:
        asked, parts = talk.asked, urlsplit(talk.asked.path)
        if not asked.headers["user-agent"].startswith("Aggregator/") or asked.headers["accept-encoding"] != "gzip":
            return f"headers {asked.headers}"
        is_filter = parts.path == "/1.1/statuses/filter.json"
        if asked.method != ("POST" if is_filter else "GET"):
            return f"{asked.method} {parts.path}"
        form = parse_qsl(
            asked.body.decode() if is_filter else parts.query, strict_parsing=bool(asked.body or parts.query)
        )
        self.forms.append(form)
        if is_filter and asked.headers["content-type"] != "application/x-www-form-urlencoded":
            return f"content-type {asked.headers['content-type']}"
        if parts.path.startswith("/2/"):
            is_known = asked.headers["authorization"] == f"Bearer {BEARER.bearer_token}"
            return "" if is_known else f"authorization {asked.headers['authorization']}"
        headers = {"Authorization": asked.headers["authorization"]}
        headers |= {"Content-Type": asked.headers["content-type"]} if is_filter else {}
        valid, _ = SignatureOnlyEndpoint(self._validator).validate_request(
            f"http://{asked.headers['host']}{asked.path}", asked.method, asked.body.decode(), headers
        )
        return "" if valid else "the signature"
