"""A server of an endless stream of Server-Sent Events, on localhost."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def event_server(pause_s: float = 0.05) -> Iterator[str]:
    """Serve an event every `pause_s` seconds to each who asks, and yield the address."""
    ending = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            number = 0
            try:
                while not ending.wait(pause_s):
                    number += 1
                    self.wfile.write(f'data: {{"number": {number}}}\n\n'.encode())
            except OSError:
                return  # the client has gone

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/events"
        finally:
            ending.set()
            server.shutdown()
            thread.join()
