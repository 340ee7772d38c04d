"""Play three live feeds on 127.0.0.1, with the faults that public feeds have.

`/subway.pb` is GTFS-realtime and has ETags, `/siri.xml` is SIRI and has Last-Modified, `/station_status.json` is GBFS
and has neither; `GET /stats` answers counts as JSON. Random numbers from a seed decide which answers are a 503 (some
with Retry-After), are cut off in the middle, hold half a body, or are slow. Now and then, a feed freezes for a while.
"""

import argparse
import gzip
import hashlib
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import urlsplit

from aggregator.demo.publications import Feed, body_at, published_at, shipped_feeds
from aggregator.demo.server import DemoConnection, DemoServer, parse_port, parse_share, serve
from aggregator.demo.stopping import StopRequest

OUTCOMES = ("ok", "not_modified", "unavailable", "cut", "corrupt", "slow")


@dataclass(frozen=True)
class Trouble:
    """How often each fault occurs, as a share from 0 to 1."""

    fail: float = 0.0
    """Share of the answers that fail: half of them are a 503, half are cut off."""
    corrupt: float = 0.0
    slow: float = 0.0
    frozen: float = 0.0
    """Share of a feed's publications that are left out because the feed is frozen."""


@dataclass(frozen=True)
class Mood:
    """How the server treats one request."""

    fate: str
    """One of OUTCOMES."""
    retry_after_s: int | None
    delay_s: float


class FeedServer(DemoServer):
    """The server and the state that its connections share.

    With one seed, the nth request for a feed always meets the same mood.
    """

    def __init__(
        self, port: int, *, trouble: Trouble, seed: int, feeds: list[Feed], clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(port, _Connection, OUTCOMES)
        self.feeds = {feed.path: feed for feed in feeds}
        self._trouble, self._seed, self._clock = trouble, seed, clock
        self._chances = {feed.path: random.Random(f"{seed} {feed.path}") for feed in feeds}
        self._body = lru_cache(maxsize=4 * len(feeds))(lambda path, moment: body_at(self.feeds[path], moment))

    def publication(self, feed: Feed) -> tuple[int, bytes]:
        """Return the time and the body of the publication that a feed shows now."""
        moment = published_at(feed, self._clock(), self._trouble.frozen, self._seed)
        return moment, self._body(feed.path, moment)

    def next_mood(self, feed: Feed) -> Mood:
        """Draw the mood that the next request for a feed meets."""
        with self.lock:
            # Three numbers for every request, so that the mood of one request does not depend on other moods.
            chances = self._chances[feed.path]
            chance, seconds, politeness = chances.random(), chances.uniform(1, 3), chances.randint(0, 3)
        trouble = self._trouble
        for fate, share in (
            ("unavailable", trouble.fail / 2),
            ("cut", trouble.fail / 2),
            ("corrupt", trouble.corrupt),
            ("slow", trouble.slow),
        ):
            if chance < share:
                retry_after_s = politeness if fate == "unavailable" and politeness else None
                return Mood(fate, retry_after_s, seconds if fate == "slow" else 0.0)
            chance -= share
        return Mood("ok", None, 0.0)


class _Connection(DemoConnection):
    server: FeedServer

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        feed = self.server.feeds.get(path)
        if feed:
            self._answer_feed(feed)
        elif path == "/stats":
            self._answer(HTTPStatus.OK, f"{json.dumps(self.server.stats())}\n".encode(), "application/json")
        else:
            self._answer(HTTPStatus.NOT_FOUND, "".join(f"{path}\n" for path in self.server.feeds).encode())

    def _answer_feed(self, feed: Feed) -> None:
        mood = self.server.next_mood(feed)
        if mood.fate != "ok":
            self.server.count(mood.fate)
        if mood.fate == "unavailable":
            return self._answer(HTTPStatus.SERVICE_UNAVAILABLE, b"try again later\n", retry_after_s=mood.retry_after_s)
        if mood.delay_s:
            time.sleep(mood.delay_s)
        moment, body = self.server.publication(feed)
        if mood.fate == "corrupt":
            return self._answer(HTTPStatus.OK, body[: len(body) // 2], feed.media)
        validators = self._validators(feed, moment, body)
        if mood.fate != "cut" and self._is_known(validators):
            self.server.count("not_modified")
            return self._answer(HTTPStatus.NOT_MODIFIED, b"", validators=validators)
        if mood.fate == "ok":
            self.server.count("ok")
        self._answer(HTTPStatus.OK, body, feed.media, validators=validators, cut=mood.fate == "cut")

    def _validators(self, feed: Feed, moment: int, body: bytes) -> dict[str, str]:
        if feed.validator == "ETag":
            return {"ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'}
        return {feed.validator: formatdate(moment, usegmt=True)} if feed.validator else {}

    def _is_known(self, validators: dict[str, str]) -> bool:
        """True when the client already has this publication."""
        asked = {"ETag": self.headers.get("If-None-Match"), "Last-Modified": self.headers.get("If-Modified-Since")}
        return any(asked[name] == value for name, value in validators.items())

    def _answer(
        self,
        status: HTTPStatus,
        body: bytes,
        media: str = "text/plain; charset=utf-8",
        *,
        validators: dict[str, str] | None = None,
        retry_after_s: int | None = None,
        cut: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in (validators or {}).items():
            self.send_header(name, value)
        if body:
            self.send_header("Content-Type", media)
        if "gzip" in self.headers.get("Accept-Encoding", "") and len(body) > 1000:
            body = gzip.compress(body, 6, mtime=0)
            self.send_header("Content-Encoding", "gzip")
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(body)))
        if retry_after_s is not None:
            self.send_header("Retry-After", str(retry_after_s))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True


def main(argv: list[str]) -> int:
    """Run the server until SIGTERM, and return the exit code."""
    parser = argparse.ArgumentParser(prog="aggregator demo feeds", description="Play live feeds on 127.0.0.1.")
    parser.add_argument("--port", type=parse_port, required=True, metavar="N", help="0: any free one, printed first")
    for name, share, words in (
        ("fail", 0.04, "503 and cut off answers"),
        ("corrupt", 0.01, "bodies of which half is missing"),
        ("slow", 0.02, "answers that take some seconds"),
        ("frozen", 0.15, "publications that a frozen feed leaves out"),
    ):
        words = f"share of {words} (default {share})"
        parser.add_argument(f"--{name}", type=parse_share, default=share, metavar="P", help=words)
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of chance (default 1)")
    options = parser.parse_args(argv)
    stop = StopRequest()
    trouble = Trouble(options.fail, options.corrupt, options.slow, options.frozen)
    try:
        server = FeedServer(options.port, trouble=trouble, seed=options.seed, feeds=shipped_feeds())
    except OSError as error:
        print(f"cannot listen on 127.0.0.1:{options.port}: {error.strerror}; choose another --port", file=sys.stderr)
        return 1
    with server:
        print(f"started address=http://127.0.0.1:{server.server_port}/ feeds={','.join(server.feeds)}", flush=True)
        serve(server, stop, report=lambda line: print(line, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
