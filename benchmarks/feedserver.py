"""A web server of feeds that is fast enough not to limit what is measured: `python -m benchmarks.feedserver`.

    /feed/…     a real capture of about 130 KB, published this second, the same for each feed
    /away/…     the same until the moment `--away-at`; from then on no answer
    /hung       the same until the moment `--spoilt-at`; from then on no answer
    /dribbling  the same until the moment `--spoilt-at`; from then on a byte a second

The server listens on a free port of 127.0.0.1, and prints this port in its first line.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable

from benchmarks.captures import load_captures, stamped

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: %d\r\n\r\n"


class Feed:
    """The current answer of every feed."""

    def __init__(self) -> None:
        self._captures = load_captures()
        self._second = 0
        self._answer = b""

    def answer(self) -> bytes:
        """Return head and body of the answer, which is made once a second."""
        second = int(time.time())
        if second != self._second:
            body = stamped(self._captures[second // 5 % len(self._captures)], second)
            self._second, self._answer = second, _HEAD % len(body) + body
        return self._answer


class Peer(asyncio.Protocol):
    """One connection."""

    def __init__(self, feed: Feed, latency_s: float, spoilt_at: float, away_at: float) -> None:
        self._feed = feed
        self._latency_s = latency_s
        self._spoilt_at = spoilt_at
        self._away_at = away_at
        self._asked = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the connection to answer on."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer once the request is whole; no client here sends a second request before the first is answered."""
        self._asked += data
        if not self._asked.endswith(b"\r\n\r\n"):
            return
        asked, self._asked = self._asked.lower(), b""
        _after(self._latency_s, lambda: self._answer(asked))

    def _answer(self, asked: bytes) -> None:
        spoilt = time.time() >= self._spoilt_at
        if spoilt and asked.startswith(b"get /hung"):
            return
        if asked.startswith(b"get /away") and time.time() >= self._away_at:
            return
        answer = self._feed.answer()
        if spoilt and asked.startswith(b"get /dribbling"):
            head = answer.index(b"\r\n\r\n") + 4
            self._transport.write(answer[:head])
            self._dribble(answer[head:])
            return
        self._transport.write(answer)
        if b"\r\nconnection: close\r\n" in asked:
            self._transport.close()

    def _dribble(self, rest: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(rest[:1])
            _after(1.0, lambda: self._dribble(rest[1:]))


def _after(delay_s: float, call: Callable[[], None]) -> None:
    if delay_s:
        asyncio.get_running_loop().call_later(delay_s, call)
    else:
        call()


async def serve(latency_s: float, spoilt_at: float, away_at: float) -> None:
    """Serve until killed."""
    feed = Feed()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Peer(feed, latency_s, spoilt_at, away_at), "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feedserver")
    parser.add_argument("--latency", type=float, default=0.0, metavar="S", help="wait so long before each answer")
    parser.add_argument("--spoilt-at", type=float, default=float("inf"), metavar="UNIX", help="when the two go bad")
    parser.add_argument("--away-at", type=float, default=float("inf"), metavar="UNIX", help="when /away goes")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.latency, arguments.spoilt_at, arguments.away_at))


if __name__ == "__main__":
    main()
