"""Play the usage tracker of IRUS (release 5) on 127.0.0.1: check each ping, count it, and fail now and then.

`GET /stats` answers the counts as JSON; a GET of any other path is a ping. A good ping gets 200, a faulty ping 400 with
one fault on each line. Random numbers from a seed decide which pings get a 503 (half of them with Retry-After) or a
slow answer.

Source: IRUS tracker protocol R5 (irus.jisc.ac.uk/r5/us/about/policies/tracker).
"""

import argparse
import json
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import TextIO
from urllib.parse import parse_qs, urlsplit

from aggregator.demo.server import DemoConnection, DemoServer, parse_port, parse_share, serve
from aggregator.demo.stopping import StopRequest

_MANDATORY = ("url_ver", "url_tim", "rft_dat", "req_id", "req_dat", "rft.artnum", "svc_dat", "rfr_dat", "rfr_id")
# Clients need not send a User-Agent or a Referer.
_MAY_BE_EMPTY = ("req_dat", "rfr_dat")


def faults(query: str) -> list[str]:
    """Return the faults of a ping's query string; empty when IRUS R5 would accept the ping."""
    try:
        values = parse_qs(query, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=50)
    except ValueError as error:
        return [f"query: {error}"]
    return [*_faulty_keys(values), *_faulty_values({key: given[0] for key, given in values.items()})]


def _faulty_keys(values: dict[str, list[str]]) -> Iterator[str]:
    for key in _MANDATORY:
        if key not in values:
            yield f"{key}: missing"
        elif len(values[key]) > 1:
            yield f"{key}: given {len(values[key])} times"
        elif not values[key][0] and key not in _MAY_BE_EMPTY:
            yield f"{key}: empty"


def _faulty_values(values: dict[str, str]) -> Iterator[str]:
    checks: dict[str, tuple[Callable[[str], bool], str]] = {
        "url_ver": (lambda text: text == "Z39.88-2004", "Z39.88-2004"),
        "url_tim": (_is_time, "a UTC time as 2010-10-17T03:04:42Z"),
        "rft_dat": (lambda text: text in ("Request", "Investigation"), "Request or Investigation"),
        "req_id": (_is_address, "a bare IP address (urn:ip: is release 4)"),
    }
    for key, (is_right, wanted) in checks.items():
        text = values.get(key, "")
        if text and not is_right(text):
            yield f"{key}: needs {wanted} (found {text[:80]!r})"


def _is_time(text: str) -> bool:
    if not re.fullmatch(r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}Z", text):
        return False
    try:
        datetime.fromisoformat(text[:-1])
    except ValueError:
        return False
    return True


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Mood:
    """How the server treats one ping, whatever its content."""

    unavailable: bool
    retry_after_s: int | None
    delay_s: float


class Tracker(DemoServer):
    """The server on 127.0.0.1, with the state that its connections share; `server_port` is its port.

    `slow` and `fail` are shares of all pings (0 to 1). With one seed, the nth ping always meets the same mood.
    """

    def __init__(
        self, port: int, *, slow: float, fail: float, rng: random.Random, record: TextIO | None = None
    ) -> None:
        super().__init__(port, _Connection, ("accepted", "faulty", "unavailable", "slow"))
        self._slow, self._fail, self._rng, self._record = slow, fail, rng, record

    def next_mood(self) -> Mood:
        """Draw the mood that the next ping meets."""
        with self.lock:
            # Three numbers for every ping, so that the mood of one ping does not depend on other moods.
            chance, seconds, politeness = self._rng.random(), self._rng.uniform(1, 2), self._rng.randint(0, 5)
        unavailable = chance < self._fail
        return Mood(
            unavailable=unavailable,
            retry_after_s=politeness if unavailable and politeness in (1, 2, 3) else None,
            delay_s=seconds if not unavailable and chance < self._fail + self._slow else 0.0,
        )

    def accept(self, query: str) -> None:
        """Count a good ping and record it."""
        with self.lock:
            self.counts["accepted"] += 1
            if self._record is not None:
                self._record.write(f"{query}\n")


class _Connection(DemoConnection):
    server: Tracker

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/stats":
            self._answer(HTTPStatus.OK, json.dumps(self.server.stats()) + "\n", "application/json")
        else:
            self._answer_ping(url.query)

    def _answer_ping(self, query: str) -> None:
        mood = self.server.next_mood()
        if mood.unavailable:
            self.server.count("unavailable")
            return self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "try again later\n", retry_after_s=mood.retry_after_s)
        if mood.delay_s:
            self.server.count("slow")
            time.sleep(mood.delay_s)
        if found := faults(query):
            self.server.count("faulty")
            return self._answer(HTTPStatus.BAD_REQUEST, "\n".join(found) + "\n")
        self.server.accept(query)
        self._answer(HTTPStatus.OK, "OK\n")

    def _answer(
        self, status: HTTPStatus, text: str, media: str = "text/plain; charset=utf-8", retry_after_s: int | None = None
    ) -> None:
        body = text.encode(errors="backslashreplace")
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        if retry_after_s is not None:
            self.send_header("Retry-After", str(retry_after_s))
        self.end_headers()
        self.wfile.write(body)


def _record(file: Path | None) -> AbstractContextManager[TextIO | None]:
    if file is None:
        return nullcontext()
    file.parent.mkdir(parents=True, exist_ok=True)
    return file.open("a", buffering=1, encoding="utf-8", errors="backslashreplace")


def main(argv: list[str]) -> int:
    """Run the tracker until SIGTERM, and return the exit code."""
    parser = argparse.ArgumentParser(prog="aggregator demo tracker", description="Play a usage tracker on 127.0.0.1.")
    parser.add_argument(
        "--port", type=parse_port, required=True, metavar="N", help="0: any free port, printed at the start"
    )
    parser.add_argument(
        "--slow", type=parse_share, default=0.02, metavar="P", help="share of slow answers (default 0.02)"
    )
    parser.add_argument(
        "--fail", type=parse_share, default=0.03, metavar="P", help="share of 503 answers (default 0.03)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of chance (default 1)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="append the query of each good ping to FILE")
    options = parser.parse_args(argv)
    stop = StopRequest()
    with _record(options.record) as record:
        try:
            tracker = Tracker(
                options.port, slow=options.slow, fail=options.fail, rng=random.Random(options.seed), record=record
            )
        except OSError as error:
            print(
                f"cannot listen on 127.0.0.1:{options.port}: {error.strerror}; choose another --port", file=sys.stderr
            )
            return 1
        with tracker:
            print(f"started address=http://127.0.0.1:{tracker.server_port}/", flush=True)
            serve(tracker, stop, report=lambda line: print(line, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
