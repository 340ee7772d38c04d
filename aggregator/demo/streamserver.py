"""Play a live stream of changes on 127.0.0.1, as Server-Sent Events, which is cut now and then.

`/changes` sends genuine changes of Wikidata with the time of now, over and over; `/changes?type=new` sends the new
pages among them. Each connection is cut after a while, in the middle of an event, and what happens until the next one
is gone: the stream plays a platform that cannot go on behind an event. `GET /stats` answers counts as JSON.
"""

import argparse
import gzip
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from http import HTTPStatus
from importlib.resources import files
from itertools import count
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid5

from aggregator.demo.server import DemoConnection, DemoServer, parse_port, serve
from aggregator.demo.stopping import StopRequest

OUTCOMES = ("connections", "events", "cut")
_GRAIN_S = 0.1


def shipped_changes() -> list[dict[str, Any]]:
    """Return the changes that come with the demo."""
    packed = files("aggregator.demo").joinpath("recentchange.ndjson.gz").read_bytes()
    return [json.loads(line) for line in gzip.decompress(packed).splitlines()]


class StreamServer(DemoServer):
    """The server and what its connections share: the changes, and how fast they come."""

    def __init__(
        self,
        port: int,
        changes: list[dict[str, Any]],
        *,
        rate: float,
        cut_every_s: float,
        stop: Callable[[], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`rate` is in events a second; each connection is cut after `cut_every_s` seconds, never with 0."""
        super().__init__(port, _Connection, OUTCOMES)
        self.cut_every_s = cut_every_s
        self.stop = stop
        self.clock = clock
        self._changes = changes
        self._rate = rate

    def number_at(self, moment: float) -> int:
        """Return the number of the next event at a moment in Unix seconds; events are numbered from 1970 on."""
        return int(moment * self._rate)

    def event(self, number: int) -> dict[str, Any]:
        """Return an event: a change, as if it had happened at the event's time."""
        change = self._changes[number % len(self._changes)]
        at = number / self._rate
        moment = datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="seconds")
        # a change that comes again is another event
        id = str(uuid5(UUID(change["meta"]["id"]), str(number)))
        return {**change, "timestamp": int(at), "meta": {**change["meta"], "id": id, "dt": moment, "offset": number}}


class _Connection(DemoConnection):
    server: StreamServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/changes":
            self.server.count("connections")
            self._stream(wanted=lambda change: parts.query != "type=new" or change["type"] == "new")
        elif parts.path == "/stats":
            self._answer(HTTPStatus.OK, f"{json.dumps(self.server.stats())}\n".encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"/changes\n/stats\n")

    def _answer(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        self.wfile.write(b":ok\n\n")
        self.wfile.flush()
        self.close_connection = True
        for text in self._texts(wanted):
            self.wfile.write(text)
            self.wfile.flush()

    def _texts(self, wanted: Callable[[dict[str, Any]], bool]) -> Iterator[bytes]:
        """Yield what is sent, each text at its time, until the connection is to be cut."""
        server = self.server
        begin = server.clock()
        number = server.number_at(begin)
        for turn in count(1):
            if server.stop():
                return
            now = server.clock()
            events = [server.event(n) for n in range(number, server.number_at(now))]
            number = max(number, server.number_at(now))
            texts = [
                f"event: message\nid: {change['meta']['offset']}\ndata: {json.dumps(change)}\n\n".encode()
                for change in events
                if wanted(change)
            ]
            if texts and server.cut_every_s and now - begin >= server.cut_every_s:
                server.count("cut")
                yield texts[0][: len(texts[0]) // 2]
                return
            for text in texts:
                server.count("events")
                yield text
            if not texts and not turn % int(15 / _GRAIN_S):
                yield b":\n\n"
            time.sleep(_GRAIN_S)


def main(argv: list[str]) -> int:
    """Run the server until SIGTERM, and return the exit code."""
    parser = argparse.ArgumentParser(prog="aggregator demo stream", description="Play a live stream on 127.0.0.1.")
    parser.add_argument("--port", type=parse_port, required=True, metavar="N", help="0: any free one, printed first")
    parser.add_argument("--rate", type=float, default=5.0, metavar="N", help="events a second (default 5)")
    parser.add_argument(
        "--cut-every", type=float, default=90.0, metavar="S", help="cut each connection after so many seconds; 0: never"
    )
    options = parser.parse_args(argv)
    stop = StopRequest()
    if not options.rate > 0:
        parser.error(f"--rate needs a number above 0 (found {options.rate:g})")
    try:
        server = StreamServer(
            options.port, shipped_changes(), rate=options.rate, cut_every_s=options.cut_every, stop=stop
        )
    except OSError as error:
        print(f"cannot listen on 127.0.0.1:{options.port}: {error.strerror}; choose another --port", file=sys.stderr)
        return 1
    with server:
        print(f"started address=http://127.0.0.1:{server.server_port}/changes rate={options.rate:g}", flush=True)
        serve(server, stop, report=lambda line: print(line, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
