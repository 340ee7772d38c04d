"""The common part of the demo's servers: bounded connections on 127.0.0.1, and counts, reported once a minute."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Lock, Thread
from typing import Any

_MAX_CONNECTIONS = 64
_IDLE_S = 60.0
_TICK_S = 0.25
_SUMMARY_S = 60.0


class DemoServer(ThreadingHTTPServer):
    """A server on 127.0.0.1 that serves each connection in a thread, at most 64 at once; `server_port` is its port."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler], outcomes: Iterable[str]) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.counts = Counter(dict.fromkeys((*outcomes, "refused_connections"), 0))
        self.lock = Lock()
        self._slots = BoundedSemaphore(_MAX_CONNECTIONS)

    def count(self, outcome: str) -> None:
        """Count one more of an outcome."""
        with self.lock:
            self.counts[outcome] += 1

    def stats(self) -> dict[str, int]:
        """Return the counts so far."""
        with self.lock:
            return dict(self.counts)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread, or close it at once when there are too many."""
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.count("refused_connections")
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error of a connection, unless the client just went away."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class DemoConnection(BaseHTTPRequestHandler):
    """One connection, kept alive until it is idle for a minute."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    # Buffered, so that head and body leave in one packet: otherwise each request waits for a delayed acknowledgement.
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: one line a minute says how many requests there were."""


def serve(server: DemoServer, stop: Callable[[], bool], report: Callable[[str], None]) -> None:
    """Answer requests until `stop()`, with a line of counts each minute."""
    # In a thread, because shutdown() waits for serve_forever() to return.
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": _TICK_S}, daemon=True)
    thread.start()
    reported_at = time.monotonic()
    while not stop():
        time.sleep(_TICK_S)
        if time.monotonic() - reported_at >= _SUMMARY_S:
            reported_at = time.monotonic()
            report(_line("counted", server.stats()))
    server.shutdown()
    thread.join()
    report(_line("stopped", server.stats()))


def _line(event: str, counts: dict[str, int]) -> str:
    return " ".join([event, *(f"{name}={number}" for name, number in counts.items())])


def parse_share(text: str) -> float:
    """Return a share from 0 to 1. Raises ArgumentTypeError, or ValueError when it is no number."""
    if not (0 <= (share := float(text)) <= 1):
        raise argparse.ArgumentTypeError(f"needs a share from 0 to 1 (found {text!r})")
    return share


def parse_port(text: str) -> int:
    """Return a port's number. Raises ArgumentTypeError, or ValueError when it is no number."""
    if not (0 <= (port := int(text)) <= 65535):
        raise argparse.ArgumentTypeError(f"needs a port from 0 to 65535 (found {text!r})")
    return port
