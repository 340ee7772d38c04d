"""A server of event streams, as a program: `python -m benchmarks.eventserver` prints its port.

`/sse`, `/ndjson` and `/websocket` send events of 2,000 bytes that are made of the demo's real ones, numbered from 0:
`?total=N` of them as fast as they are taken, or with `&rate=R` so many a second. The connection stays open after them.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

SIZE_BYTES = 2000
AT_ONCE = 64
_DEMO = Path(__file__).parent.parent / "aggregator" / "demo" / "recentchange.ndjson.gz"
_HEAD = b'{"n":%9d,"at":%.6f,"change":'

Frame = Callable[[int, bytes], bytes]
"""Make an event with its number what stands for it on the wire."""


def frame_of_sse(number: int, body: bytes) -> bytes:
    """Return an event of a text/event-stream."""
    return b"id: %d\ndata: %b\n\n" % (number, body)


def frame_of_ndjson(number: int, body: bytes) -> bytes:
    """Return a line."""
    return body + b"\n"


def frame_of_websocket(number: int, body: bytes) -> bytes:
    """Return a text frame as a server sends it. Source: RFC 6455, section 5.2."""
    return b"\x81\x7e" + struct.pack("!H", len(body)) + body


FRAMES: dict[str, Frame] = {"sse": frame_of_sse, "ndjson": frame_of_ndjson, "websocket": frame_of_websocket}


KEEP_ALIVES = {"sse": b":\n\n", "ndjson": b"\n", "websocket": b"\x89\x00"}
"""What says that the connection lives; of a WebSocket a ping."""


def ends_of_events() -> list[bytes]:
    """Return what follows the number and time of an event, one for each of the demo's events."""
    lines = gzip.decompress(_DEMO.read_bytes()).splitlines()
    lines = [line for line in lines if len(line) < SIZE_BYTES - 200]
    found = []
    half = len(lines) // 2
    # filled with an event so far away that a packer does not see it any more
    for line, other in zip(lines, [*lines[half:], *lines[:half]], strict=True):
        room = SIZE_BYTES - len(_HEAD % (0, time.time())) - len(line) - len(b',"fill":""}')
        fill = other.replace(b"\\", b"").replace(b'"', b"'").decode().encode("ascii", "ignore") * 2
        found.append(line + b',"fill":"' + fill[:room] + b'"}')
    return found


def serve() -> None:
    """Serve on a free port, each connection in a thread, until the program is killed."""
    ends = ends_of_events()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=_answer, args=(sock, ends), daemon=True).start()


def _answer(sock: socket.socket, ends: list[bytes]) -> None:
    with sock:
        # an event goes out when it is there, as a platform sends it
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = b""
        while b"\r\n\r\n" not in head:
            if not (piece := sock.recv(4096)):
                return
            head += piece
        asked = urlsplit(head.split()[1].decode())
        options = parse_qs(asked.query)
        sock.sendall(_opening(head))
        try:
            _send(sock, FRAMES[asked.path[1:]], ends, int(options["total"][0]), int(options.get("rate", ["0"])[0]))
            _keep_alive(sock, KEEP_ALIVES[asked.path[1:]])
        except OSError:
            return


def _opening(head: bytes) -> bytes:
    keys = [line for line in head.splitlines() if line.lower().startswith(b"sec-websocket-key:")]
    if not keys:
        return b"HTTP/1.1 200 OK\r\n\r\n"
    key = keys[0].split(b":")[1].strip() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key, usedforsecurity=False).digest())
    lines = (b"HTTP/1.1 101 x", b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: " + accept)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _keep_alive(sock: socket.socket, sign: bytes) -> None:
    """Send signs of life until the reader closes; what the reader sends is not looked at."""
    while True:
        readable, _, _ = select.select([sock], [], [], 10.0)
        if readable and not sock.recv(4096):
            return
        sock.sendall(b"" if readable else sign)


def _send(sock: socket.socket, frame: Frame, ends: list[bytes], total: int, rate: int) -> None:
    began, sent = time.monotonic(), 0
    while sent < total:
        due = total
        if rate:
            due = min(total, int((time.monotonic() - began) * rate))
        if due == sent:
            time.sleep(0.001)
            continue
        until, now = min(due, sent + AT_ONCE), time.time()
        frames = (frame(n, _HEAD % (n, now) + ends[n % len(ends)]) for n in range(sent, until))
        sock.sendall(b"".join(frames))
        sent = until


if __name__ == "__main__":
    serve()
