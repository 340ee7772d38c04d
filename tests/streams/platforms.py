"""Doubles of platforms: they publish numbered events, and note who asked for what."""

from __future__ import annotations

import json
import threading
import time

from tests.feeds.webserver import Talk, WebServer


class Publisher:
    """A stream of numbered events; as a context manager its server runs, and a thread publishes."""

    def __init__(self, *, resumes: bool, pause_s: float = 0.002) -> None:
        self.resumes = resumes
        self.published: list[int] = []
        """When each event was published, in Unix milliseconds; the number of an event is its index."""
        self.cuts = 0
        self._pause_s = pause_s
        self._changed = threading.Condition()
        self._over = False
        self._cut_before = -1
        self._server = WebServer()
        self._thread = threading.Thread(target=self._publish, daemon=True)

    @property
    def url(self) -> str:
        """Where the stream is."""
        return f"{self._server.url}/stream"

    @property
    def lines_url(self) -> str:
        """Where the same events are on lines; they do not resume."""
        return f"{self._server.url}/lines"

    @property
    def connections(self) -> int:
        """How often somebody asked."""
        return len(self._server.asked)

    def stop_publishing(self) -> None:
        """Publish nothing more; what is connected stays so."""
        self._over = True
        self._thread.join()

    def cut(self) -> None:
        """Close every connection in the middle of an event."""
        with self._changed:
            self._cut_before = len(self.published)
            self._changed.notify_all()

    def __enter__(self) -> Publisher:
        self._server.answers = {"/stream": self._sse, "/stream/recentchange": self._sse, "/lines": self._lines}
        self._server.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        with self._changed:
            self._changed.notify_all()
        self._thread.join()
        self._server.__exit__(None, None, None)

    def _publish(self) -> None:
        while not self._over:
            with self._changed:
                self.published.append(int(time.time() * 1000))
                self._changed.notify_all()
            time.sleep(self._pause_s)

    def _sse(self, talk: Talk) -> None:
        last = talk.asked.headers.get("last-event-id", "")
        begin = json.loads(last)[0]["offset"] + 1 if last and self.resumes else len(self.published)
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n:ok\n\n")
        self._serve(talk, begin, lambda n: b'id: [{"offset":%d}]\ndata: {"n":%d}\n\n' % (n, n))

    def _lines(self, talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n")
        self._serve(talk, len(self.published), lambda n: b'{"n":%d}\r\n' % n)

    def _serve(self, talk: Talk, begin: int, text_of: object) -> None:
        assert callable(text_of)
        number, since = begin, len(self.published)
        while not talk.stop.is_set():
            with self._changed:
                if len(self.published) <= number:
                    self._changed.wait(1.0)
                end = len(self.published)
                is_cut = self._cut_before >= since
            if is_cut:
                self.cuts += 1
                talk.send(text_of(number)[:5])
                talk.cut()
            if end > number:
                talk.send(b"".join(text_of(n) for n in range(number, end)))
                number = end
