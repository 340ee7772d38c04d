"""How fast 2 kB messages of a WebSocket are read: two libraries, the protocol of one of them alone, and the capture.

As a program it is one side: `python -m benchmarks.websockets SIDE PORT`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.report import Table, median
from benchmarks.rig import ask

ROUNDS = 5
TOTAL = 100_000
SIZE_BYTES = 2000
AT_ONCE = 32


def run() -> Iterator[Table]:
    """Measure; the sides take turns, each in a process of its own, on the same server."""
    found: dict[str, list[tuple[float, float]]] = {}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()
        port = listener.getsockname()[1]
        for _ in range(ROUNDS):
            for side in SIDES:
                answer = ask("benchmarks.websockets", side, port, deadline_s=120)
                found.setdefault(side, []).append((answer["seconds"], answer["cpu"]))
    rows = [
        (side, TOTAL / median([wall for wall, _ in times]), median([cpu for _, cpu in times]) / TOTAL * 1e6)
        for side, times in found.items()
    ]
    yield Table(
        f"Messages of {SIZE_BYTES} bytes from a WebSocket on this machine",
        ("reader", "messages/s", "CPU µs a message"),
        rows,
        (
            f"Medians of {ROUNDS} rounds. The capture also writes the journal, and takes and commits without Redis.",
            "The server shares the machine: above 100,000/s it is the bound, and CPU tells more.",
        ),
    )


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        with sock:
            try:
                _answer(sock)
            except OSError:
                continue  # the side has what it wants


def _answer(sock: socket.socket) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(4096)
    lines = dict(line.split(b": ", 1) for line in head.lower().splitlines()[1:] if b": " in line)
    if b"sec-websocket-key" not in lines:
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        frames: Callable[[bytes], bytes] = lambda body: body + b"\n"  # noqa: E731
    else:
        key = next(line for line in head.splitlines() if line.lower().startswith(b"sec-websocket-key")).split(b": ")[1]
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
        accept = base64.b64encode(digest)
        sock.sendall(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        sock.sendall(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        frames = lambda body: b"\x81\x7e" + struct.pack("!H", len(body)) + body  # noqa: E731
    now_us = int(time.time() * 1e6)
    for begin in range(0, TOTAL, AT_ONCE):
        bodies = (b'{"time_us":%d,"text":"' % (now_us + n) for n in range(begin, begin + AT_ONCE))
        sock.sendall(b"".join(frames(body.ljust(SIZE_BYTES - 2, b"x") + b'"}') for body in bodies))
    sock.recv(1)  # until the side closes


Read = Callable[[], None]


def library(port: int) -> Read:
    """Read by the client of the package websockets."""
    from websockets.sync.client import connect

    def read() -> None:
        with connect(f"ws://127.0.0.1:{port}/", compression=None, max_size=None) as client:
            for _ in range(TOTAL):
                client.recv(decode=False)

    return read


def other_library(port: int) -> Read:
    """Read by the package websocket-client."""
    import websocket

    def read() -> None:
        address = f"ws://127.0.0.1:{port}/"
        client = websocket.create_connection(address, skip_utf8_validation=True, enable_multithread=False)
        for _ in range(TOTAL):
            client.recv_data()
        client.shutdown()

    return read


def transport(port: int) -> Read:
    """Read by our HTTP client and the protocol of the package websockets."""
    from aggregator.http.client import Client
    from aggregator.http.request import Request
    from aggregator.streams.transports.websocket import WebSocket, question

    reader, asked = WebSocket(800_000), question()

    def read() -> None:
        count = 0
        with Client("bench").open(Request(f"http://127.0.0.1:{port}/", None, 60.0, everywhere=asked)) as exchange:
            for piece in reader.pieces(exchange, asked, 60.0):
                count += sum(1 for _ in reader.feed(piece))
                if count >= TOTAL:
                    return

    return read


def capture(kind: str) -> Callable[[int], Read]:
    """Return what reads by the stage `capture`."""

    def prepare(port: int) -> Read:
        from aggregator.config.parsing import parse_settings
        from aggregator.runtime.context import Context
        from aggregator.runtime.contract import Flush, Send
        from aggregator.streams.capture import Capture

        texts = {"type": kind, "pushto": "events", "url": f"http://127.0.0.1:{port}/"}
        settings, _ = parse_settings(Capture.Settings, texts)

        def read() -> None:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                context = Context(section="stream_bench", number=0, node="bench", root=Path(folder))
                stage, count = Capture(settings, context), 0
                stage.start()
                while count <= TOTAL:  # the connection is a message too
                    for outcome in stage.poll(time.time()):
                        count += isinstance(outcome, Send)
                        if isinstance(outcome, Flush):
                            stage.committed()
                stage.stop()

        return read

    return prepare


SIDES: dict[str, Callable[[int], Read]] = {
    "websockets": library,
    "websocket-client": other_library,
    "protocol of websockets": transport,
    "capture, websocket": capture("websocket"),
    "capture, jetstream": capture("jetstream"),
    "capture, ndjson": capture("ndjson"),
}


def main(side: str, port: str) -> None:
    """Run one side, and print its seconds as JSON."""
    read = SIDES[side](int(port))
    began, cpu = time.perf_counter(), time.process_time()
    read()
    print(json.dumps({"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main(*sys.argv[1:])
