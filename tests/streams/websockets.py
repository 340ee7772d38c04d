"""Servers of WebSockets that check what the client sends, frame by frame."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side

from tests.feeds.webserver import Talk, WebServer


def frame(data: bytes, opcode: int = 1, *, last: bool = True) -> bytes:
    """Return a frame as a server sends it."""
    size = len(data)
    first = bytes([(0x80 if last else 0) | opcode])
    if size < 126:
        return first + bytes([size]) + data
    if size < 65536:
        return first + b"\x7e" + struct.pack("!H", size) + data
    return first + b"\x7f" + struct.pack("!Q", size) + data


def closing(code: int, reason: str = "") -> bytes:
    """Return a close frame."""
    return frame(Close(code, reason).serialize(), 8)


class Peer:
    """The server's side of one connection."""

    def __init__(self, talk: Talk, subprotocol: str = "", **headers: str) -> None:
        """Answer the handshake, and check what it asked."""
        asked = talk.asked.headers
        assert asked["upgrade"] == "websocket" and "upgrade" in asked["connection"].lower()
        assert asked["sec-websocket-version"] == "13"
        assert len(base64.b64decode(asked["sec-websocket-key"])) == 16
        digest = hashlib.sha1(f"{asked['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        named = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": base64.b64encode(digest).decode(),
        }
        named |= {"Sec-WebSocket-Protocol": subprotocol} if subprotocol else {}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        self.talk = talk
        self.head = ("HTTP/1.1 101 x\r\n" + "".join(f"{n}: {v}\r\n" for n, v in named.items()) + "\r\n").encode()
        self._protocol = Protocol(Side.SERVER)
        self.seen: list[Frame] = []

    def begin(self, *behind: bytes) -> Peer:
        """Send the headers, and in the same packet the first frames."""
        self.talk.send(self.head + b"".join(behind))
        return self

    def send(self, *frames: bytes) -> None:
        self.talk.send(b"".join(frames))

    def wait_for(self, opcode: Opcode) -> bytes:
        """Return the data of the next frame of a kind that the client sends."""
        while True:
            for found in [found for found in self.seen if found.opcode is opcode]:
                self.seen.remove(found)
                return bytes(found.data)
            data = self.talk.sock.recv(65536)
            if not data:
                raise ConnectionError("the client has gone")
            self._protocol.receive_data(data)
            assert self._protocol.parser_exc is None, "the client's frames are masked and well formed"
            self.seen += [found for found in self._protocol.events_received() if isinstance(found, Frame)]


def event(time_us: int, number: int, collection: str = "app.bsky.feed.post") -> bytes:
    """Return an event of Jetstream's first version."""
    body = {
        "did": f"did:plc:{number % 7}",
        "time_us": time_us,
        "n": number,
        "kind": "commit",
        "commit": {"rev": str(number // 2), "operation": "delete", "collection": collection, "rkey": str(number)},
    }
    return json.dumps(body, separators=(",", ":")).encode()


class Jetstream:
    """A server of Jetstream's first version: it keeps its events, and begins where a cursor says, or at its floor."""

    def __init__(self, pack: Callable[[bytes], bytes] | None = None) -> None:
        self.events: list[tuple[int, bytes]] = []
        self.floor_us = 0
        self.asked: list[dict[str, list[str]]] = []
        self.refused: list[str] = []
        """What did not fit in a question."""
        self._pack = pack
        self._cut_at = -1
        self.changed = threading.Condition()
        self.server = WebServer()

    @property
    def url(self) -> str:
        """Its address, as that of a WebSocket."""
        return self.server.url.replace("http", "ws", 1)

    def publish(self, *events: tuple[int, bytes]) -> None:
        """Add events, each with its time."""
        with self.changed:
            self.events += events
            self.changed.notify_all()

    def cut(self) -> None:
        """Close every connection in the middle of a frame."""
        with self.changed:
            self._cut_at = len(self.asked)
            self.changed.notify_all()

    def __enter__(self) -> Jetstream:
        self.server.answers = _Everywhere(self._talk)
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self.changed.notify_all()
        self.server.__exit__(None, None, None)

    def _talk(self, talk: Talk) -> None:
        parts = urlsplit(talk.asked.path)
        query = parse_qs(parts.query)
        if parts.path != "/subscribe" or not query.keys() <= {"wantedCollections", "wantedDids", "cursor", "compress"}:
            self.refused.append(talk.asked.path)
            talk.answer(b"no such endpoint", "404 Not Found")
            return
        peer = Peer(talk)
        with self.changed:
            self.asked.append(query)
            number = len(self.asked)
            is_packed = query.get("compress") == ["true"]
            wanted = query.get("wantedCollections", [])
            begin = int(query["cursor"][0]) if "cursor" in query else None
            at = 0 if begin is not None else len(self.events)
        peer.begin()
        while not talk.stop.is_set():
            with self.changed:
                if len(self.events) == at and self._cut_at < number:
                    self.changed.wait(0.2)
                fresh, at, is_cut = self.events[at:], len(self.events), self._cut_at >= number
            for time_us, data in fresh:
                if time_us < max(begin or 0, self.floor_us) or (
                    wanted and not any(name.encode() in data for name in wanted)
                ):
                    continue
                peer.send(frame(self._pack(data), 2) if is_packed and self._pack else frame(data))
            if is_cut:
                peer.send(frame(b'{"time_us":1}' * 20)[:50])
                talk.cut()
        talk.cut()


class Publisher(Jetstream):
    """A server of Jetstream that publishes numbered events."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[int] = []
        """When each event was published, in Unix milliseconds; the number of an event is its index."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def stop_publishing(self) -> None:
        """Publish nothing more; what is connected stays so."""
        self._over.set()
        self._thread.join()

    def __enter__(self) -> Publisher:
        super().__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_publishing()
        super().__exit__()

    def _run(self) -> None:
        while not self._over.wait(0.002):
            now_us = int(time.time() * 1_000_000)
            # of two events one is older than the one before it
            time_us = now_us - len(self.published) % 2 * 500_000
            self.publish((time_us, event(time_us, len(self.published))))
            self.published.append(now_us // 1000)


class _Everywhere(dict[str, Any]):
    """The same answer for every path."""

    def __init__(self, answer: Callable[[Talk], object]) -> None:
        super().__init__()
        self._answer = answer

    def get(self, path: str, default: Any = None) -> Any:
        return self._answer
