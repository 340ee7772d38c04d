"""Doubles of Mastodon's and Wikimedia's streaming servers: they check who asks and how, and play what a test gives."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from aggregator.streams.credentials import CredentialSettings
from tests.feeds.webserver import Talk, WebServer

TOKEN = CredentialSettings(token="user-token-0123456789")
Play = Callable[[Talk], object]


def sent(pieces: Iterable[bytes], *, pause_s: float = 0.0, silent: bool = False) -> Play:
    """Send a text/event-stream in pieces, then close the connection, or say nothing more."""

    def play(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            talk.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            if pause_s and talk.stop.wait(pause_s):
                return
        if silent:
            talk.hang()
        talk.cut()

    return play


class SseDouble:
    """The server. Each accepted question is answered by the next play, and after the last one in silence."""

    def __init__(self, *plays: Play) -> None:
        self.plays = list(plays)
        self.server = WebServer()
        self.asked_at: list[float] = []
        self.paths: list[tuple[str, dict[str, str]]] = []
        """The path and parameters of each question that was right."""
        self.last_ids: list[str] = []
        self.faults: list[str] = []

    def __enter__(self) -> SseDouble:
        self.server.answer_all = self._answer
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__(None, None, None)

    def _answer(self, talk: Talk) -> None:
        self.asked_at.append(time.monotonic())
        headers, parts = talk.asked.headers, urlsplit(talk.asked.path)
        wrong = [
            *("method" for _ in range(talk.asked.method != "GET")),
            *("accept" for _ in range(headers.get("accept") != "text/event-stream")),
            *("user-agent" for _ in range(not headers.get("user-agent", "").startswith("Aggregator/"))),
        ]
        refusal = self.refusal(parts.path, headers)
        if wrong or refusal:
            self.faults.append(" ".join([*wrong, *([refusal[0]] if refusal else [])]))
            line, body = refusal or ("400 Bad Request", {"error": "headers"})
            talk.answer(json.dumps(body).encode(), line, Content_Type="application/json")
            return
        self.paths.append((parts.path, dict(parse_qsl(parts.query))))
        self.last_ids.append(headers.get("last-event-id", ""))
        (self.plays.pop(0) if self.plays else sent([b":\n"], silent=True))(talk)

    def refusal(self, path: str, headers: dict[str, str]) -> tuple[str, Any] | None:
        """Return the status line and body with which a question is refused; None when it is right."""
        raise NotImplementedError


class Mastodon(SseDouble):
    """Mastodon 4.2 and later: every stream needs a user's token. Source: docs.joinmastodon.org, "Streaming"."""

    def refusal(self, path: str, headers: dict[str, str]) -> tuple[str, Any] | None:
        if "authorization" not in headers:
            return "401 Unauthorized", {"error": "Missing access token"}
        if headers["authorization"] != f"Bearer {TOKEN.token}":
            return "401 Unauthorized", {"error": "Invalid access token"}
        if not path.startswith("/api/v1/streaming/"):
            return "404 Not Found", {"error": "Not found"}
        return None


class Wikimedia(SseDouble):
    """EventStreams: an id that it has not given out is refused. Source: wikitech.wikimedia.org, "EventStreams"."""

    def __init__(self, *plays: Play) -> None:
        super().__init__(*plays)
        self.ids: set[str] = set()

    def event(self, number: int, *, domain: str = "www.wikidata.org") -> bytes:
        """Return an event with its id, as it is sent."""
        topics = [
            {"topic": "eqiad.mediawiki.recentchange", "partition": 0, "offset": number},
            {"topic": "codfw.mediawiki.recentchange", "partition": 0, "timestamp": 1772536525049},
        ]
        mark = json.dumps(topics, separators=(",", ":"))
        self.ids.add(mark)
        data = json.dumps({"meta": {"domain": domain, "id": f"e-{number}"}, "n": number})
        return f"event: message\nid: {mark}\ndata: {data}\n\n".encode()

    def refusal(self, path: str, headers: dict[str, str]) -> tuple[str, Any] | None:
        last = headers.get("last-event-id")
        if last is not None and last not in self.ids:
            return "400 Bad Request", {"message": "Last-Event-ID is not one of ours"}
        return None if path.startswith("/v2/stream/") else ("404 Not Found", {"message": "no such stream"})
