"""WebSocket: a connection whose frames become messages, whatever they are cut into.

The HTTP client makes the connection, so that proxies, TLS, deadlines and refusals are those of every other stream; the
package websockets makes frames of its bytes. Its protocol without its sockets takes three quarters of the time of its
client, and 0.6 of that of the package websocket-client (docs/performance.md).

Source: RFC 6455.
"""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from socket import socket
from typing import Any

from aggregator.config.installation import pip_install
from aggregator.errors import ConfigError
from aggregator.http.client import Exchange
from aggregator.http.framing import Broken
from aggregator.http.urls import printable
from aggregator.streams.transports.parts import Part, TooLarge

MOST_BYTES = 16 * 1024**2
"""A message beyond this size ends the connection. A smaller one that is larger than `max_size` is passed over."""
_PINGS = 3
"""The other side is asked for a sign of life this many times before its silence counts as a stall."""
_READ = 64 * 1024
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Source: RFC 6455, section 1.3."""
Unpack = Callable[[bytes], bytes]


class Oversize(Broken):
    """A message beyond MOST_BYTES came; a stream that goes on behind the last event would meet it again."""


def question(subprotocol: str = "") -> dict[str, str]:
    """Return the headers that ask for a WebSocket."""
    headers = {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-key": base64.b64encode(os.urandom(16)).decode(),
        "sec-websocket-version": "13",
    }
    return headers | ({"sec-websocket-protocol": subprotocol} if subprotocol else {})


class WebSocket:
    """Take bytes, give messages; pings are answered between the pieces."""

    retry_s: float | None = None

    def __init__(
        self, most_bytes: int, unpack: Unpack | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """A message of more than `most_bytes` is passed over: `TooLarge` stands in its place.

        `unpack` unpacks binary messages; it raises Broken. Raises ConfigError when the package is not installed.
        """
        self._most_bytes = most_bytes
        self._unpack = unpack
        self._clock = clock
        self._frames = _Frames()
        self._parts: list[bytes] = []
        self._size = 0
        self._is_binary = False
        self._goes_on = False
        self.farewell = ""
        """Why the other side closed the connection: the code and the reason of its close frame."""

    @property
    def partial(self) -> bool:
        """True while a message has begun and not ended."""
        return self._goes_on or self._frames.partial

    def pieces(self, exchange: Exchange, asked: Mapping[str, str], stall_s: float) -> Iterator[bytes]:
        """Return the bytes of a connection as they come; they are to be fed before the next are asked for.

        The pieces end with a close frame. Raises Broken, here also for an answer that is no WebSocket, TimeoutError
        after a silence of `stall_s`, and the exceptions of the client. Silence is the time without a whole frame: a
        byte now and then is no sign of life.
        """
        _check(exchange, asked)
        return self._pieces(*exchange.take_over(stall_s / _PINGS), stall_s)

    def _pieces(self, sock: socket, piece: bytes, stall_s: float) -> Iterator[bytes]:
        frames = self._frames
        heard = self._clock()
        while True:
            if piece:
                count = frames.count
                yield piece
                _send(sock, frames)
                if self.farewell:
                    return
                if frames.error is not None:
                    raise Oversize("a message of more than 16 MB") if frames.is_oversize else Broken(frames.error)
                heard = self._clock() if frames.count > count else heard
            if self._clock() - heard >= stall_s:
                raise TimeoutError
            try:
                piece = sock.recv(_READ)
            except TimeoutError:
                piece = b""
                frames.ping()
                _send(sock, frames)
                continue
            if not piece:
                raise Broken("the connection ended without a close frame")

    def feed(self, piece: bytes) -> Iterator[Part | TooLarge]:
        """Yield the messages that these bytes complete."""
        for opcode, data, is_last in self._frames.take(piece):
            if opcode == _CLOSE:
                self.farewell = data.decode()
                return
            if opcode != _CONTINUATION:
                self._parts, self._size, self._is_binary = [], 0, opcode == _BINARY
            self._size += len(data)
            self._goes_on = not is_last
            if self._size > self._most_bytes:
                self._parts.clear()
            elif data:  # there may be any number of empty fragments
                self._parts.append(data)
            if is_last:
                yield self._message()

    def _message(self) -> Part | TooLarge:
        if self._size > self._most_bytes:
            return TooLarge(self._size)
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        if self._is_binary and self._unpack is not None:
            data = self._unpack(data)
        return Part(data) if len(data) <= self._most_bytes else TooLarge(len(data))


_CONTINUATION, _TEXT, _BINARY, _CLOSE = 0, 1, 2, 8


class _Frames:
    """The protocol of the package websockets, as far as it is used."""

    def __init__(self) -> None:
        try:
            from websockets.exceptions import PayloadTooBig  # an optional package, which few streams need
            from websockets.frames import Close
            from websockets.protocol import Protocol, Side
        except ImportError as error:
            raise ConfigError(f"WebSockets need a package: {pip_install('websockets')} ({error})") from error
        self._protocol: Any = Protocol(Side.CLIENT, max_size=MOST_BYTES)
        self._close: Any = Close
        self._too_big = PayloadTooBig
        self.count = 0
        """How many frames came, of any kind."""
        self._bytes = 0
        """How many bytes came that belong to no whole frame yet."""

    @property
    def partial(self) -> bool:
        """True while a frame has begun and not ended."""
        return self._bytes > 0

    @property
    def error(self) -> str | None:
        """What is wrong with the frames; None when nothing is."""
        found = self._protocol.parser_exc
        return None if found is None else f"{type(found).__name__}: {found}"

    @property
    def is_oversize(self) -> bool:
        """True when a message is larger than anybody can want."""
        return isinstance(self._protocol.parser_exc, self._too_big)

    def take(self, piece: bytes) -> Iterator[tuple[int, bytes, bool]]:
        """Yield (opcode, data, whether the message ends) of the frames with data, and of the close frame.

        The data of a close frame are its code and reason in words.
        """
        self._bytes += len(piece)
        self._protocol.receive_data(piece)
        for frame in self._protocol.events_received():
            size = len(frame.data)
            self.count += 1
            # frames of a server are not masked; the size stands in their first byte, or in 2 or 8 more
            self._bytes -= size + (2 if size < 126 else 4 if size < 65536 else 10)
            if frame.opcode == _CLOSE:
                self._bytes = 0
                yield _CLOSE, self._words(bytes(frame.data)).encode(), True
            elif frame.opcode < _CLOSE:
                yield frame.opcode, bytes(frame.data), frame.fin

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._protocol.send_ping(b"")

    def waiting(self) -> bytes:
        """Return what is to be sent."""
        return b"".join(self._protocol.data_to_send())

    def _words(self, data: bytes) -> str:
        close = self._close.parse(data)
        return f"closed with {close.code}: {printable(close.reason)}" if close.reason else f"closed with {close.code}"


def _send(sock: socket, frames: _Frames) -> None:
    if data := frames.waiting():
        sock.sendall(data)


def _check(exchange: Exchange, asked: Mapping[str, str]) -> None:
    """Raise Broken for an answer 101 that is no WebSocket, or that chose what was not asked for."""
    headers = exchange.headers
    digest = hashlib.sha1(asked["sec-websocket-key"].encode() + _MAGIC, usedforsecurity=False).digest()
    if headers.get("upgrade", "").lower() != "websocket":
        raise Broken("HTTP 101 that does not lead to a WebSocket")
    if headers.get("sec-websocket-accept", "").strip() != base64.b64encode(digest).decode():
        raise Broken("HTTP 101 whose Sec-WebSocket-Accept does not fit the question")
    if extensions := headers.get("sec-websocket-extensions"):
        raise Broken(f"HTTP 101 with extensions that nobody asked for: {printable(extensions)}")
    chosen = headers.get("sec-websocket-protocol", "").strip()
    if chosen and chosen != asked.get("sec-websocket-protocol"):
        raise Broken(f"HTTP 101 with a protocol that nobody asked for: {printable(chosen)}")
