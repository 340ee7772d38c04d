"""The demo's feeds look alive to the very readers the archive uses, and go wrong by their seed."""

import gzip
import http.client
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

import aggregator.demo.feedserver
from aggregator.demo.feedserver import OUTCOMES, FeedServer, Trouble, main
from aggregator.demo.publications import Feed, body_at, date_gtfs_realtime, published_at, shipped_feeds
from aggregator.feeds.reading.fetched import Corrupt, Fetched
from aggregator.feeds.reading.gtfsrealtime import entity_hash
from aggregator.feeds.reading.timestamps import resolve
from tests.demo.programs import demo
from tests.processes import lines_of

READERS = {"/subway.pb": "gtfs-realtime", "/station_status.json": "gbfs", "/siri.xml": "siri"}
NOON = 1_795_000_000.0


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str]


@contextmanager
def serving(
    trouble: Trouble | None = None, seed: int = 1, clock: Callable[[], float] = lambda: NOON
) -> Iterator[http.client.HTTPConnection]:
    """Serve in this process, with a connection to it."""
    with FeedServer(0, trouble=trouble or Trouble(), seed=seed, feeds=shipped_feeds(), clock=clock) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        try:
            yield connection
        finally:
            connection.close()
            server.shutdown()
            thread.join()


def get(connection: http.client.HTTPConnection, path: str, **headers: str) -> Answer:
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    return Answer(response.status, response.read(), dict(response.getheaders()))


def read_time(path: str, body: bytes) -> float:
    return resolve(READERS[path], Path())(Fetched(body, {}, 0.0))


# --- what is published ---


@pytest.mark.parametrize("path", READERS)
def test_a_feed_carries_the_time_of_its_publication(path: str) -> None:
    with serving() as connection:
        answer = get(connection, path)

    assert answer.status == 200
    assert 0 <= NOON - read_time(path, answer.body) < 30


@pytest.mark.parametrize("feed", shipped_feeds(), ids=lambda feed: feed.path)
def test_every_publication_of_an_hour_is_another_and_can_be_read(feed: Feed) -> None:
    moments = range(int(NOON), int(NOON) + 3600, feed.period_s)
    bodies = [body_at(feed, moment // feed.period_s * feed.period_s) for moment in moments]

    assert len(set(bodies)) == len(bodies)
    assert read_time(feed.path, bodies[-1]) == moments[-1] // feed.period_s * feed.period_s


def test_dating_a_message_changes_nothing_but_its_header() -> None:
    capture = shipped_feeds()[0].captures[0]

    dated = date_gtfs_realtime(capture, int(NOON))

    assert entity_hash(dated) == entity_hash(capture)
    assert len(dated) == len(capture)


def test_a_frozen_spell_shows_what_was_there_before_it_and_ends() -> None:
    feed = shipped_feeds()[0]
    moments = [1_795_000_200 + 10 * number for number in range(30)]
    seen = [published_at(feed, moment, 0.2, 1) for moment in moments]

    frozen = [moment for moment, shown in zip(moments, seen, strict=True) if shown != moment]

    assert len(frozen) == 6
    assert frozen == list(range(frozen[0], frozen[0] + 60, 10))
    assert {shown for moment, shown in zip(moments, seen, strict=True) if moment in frozen} == {frozen[0] - 10}


def test_seeds_freeze_at_different_times() -> None:
    feed = shipped_feeds()[0]
    spells = {
        tuple(published_at(feed, 1_795_000_200 + 10 * number, 0.2, seed) for number in range(30)) for seed in range(8)
    }

    assert len(spells) > 4


# --- answers ---


def test_an_etag_that_is_still_right_gets_304_and_no_body() -> None:
    with serving() as connection:
        first = get(connection, "/subway.pb")
        again = get(connection, "/subway.pb", If_None_Match=first.headers["ETag"])
        stats = json.loads(get(connection, "/stats").body)

    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert (stats["ok"], stats["not_modified"]) == (1, 1)


def test_an_etag_of_the_publication_before_gets_the_new_one() -> None:
    now = [NOON]
    with serving(clock=lambda: now[0]) as connection:
        first = get(connection, "/subway.pb")
        now[0] += 10
        again = get(connection, "/subway.pb", If_None_Match=first.headers["ETag"])

    assert (again.status, again.headers["ETag"] != first.headers["ETag"]) == (200, True)


def test_last_modified_is_the_publication_and_gets_304() -> None:
    with serving() as connection:
        first = get(connection, "/siri.xml")
        again = get(connection, "/siri.xml", If_Modified_Since=first.headers["Last-Modified"])

    moment = parsedate_to_datetime(first.headers["Last-Modified"]).timestamp()
    assert moment == read_time("/siri.xml", first.body)
    assert again.status == 304


def test_a_feed_without_validators_answers_the_same_bytes_again() -> None:
    with serving() as connection:
        first, again = get(connection, "/station_status.json"), get(connection, "/station_status.json")

    assert first == again._replace(headers=first.headers)
    assert not {"ETag", "Last-Modified"} & first.headers.keys()


def test_a_client_that_takes_gzip_gets_it() -> None:
    with serving() as connection:
        plain = get(connection, "/subway.pb")
        packed = get(connection, "/subway.pb", Accept_Encoding="gzip")

    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body


def test_any_other_path_names_the_feeds() -> None:
    with serving() as connection:
        answer = get(connection, "/")

    assert (answer.status, answer.body.decode().split()) == (404, list(READERS))


# --- trouble ---


def test_failures_are_503_with_and_without_retry_after_and_cut_off_bodies() -> None:
    seen = []
    with serving(Trouble(fail=1.0)) as connection:
        for _ in range(40):
            try:
                answer = get(connection, "/subway.pb")
                seen.append(f"{answer.status} {answer.headers.get('Retry-After')}")
            except http.client.IncompleteRead:
                seen.append("cut")
                connection.close()

    assert set(seen) == {"503 None", "503 1", "503 2", "503 3", "cut"}


@pytest.mark.parametrize("path", READERS)
def test_a_corrupt_body_is_half_of_one_and_refused_by_its_reader(path: str) -> None:
    with serving(Trouble(corrupt=1.0)) as connection:
        answer = get(connection, path)

    assert answer.status == 200
    with pytest.raises(Corrupt):
        read_time(path, answer.body)


def test_a_slow_answer_delays_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    slow, asked_both = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        slow.set()
        assert asked_both.wait(120)

    monkeypatch.setattr(aggregator.demo.feedserver, "time", SimpleNamespace(sleep=sleep))
    with serving(Trouble(slow=1.0)) as connection:
        connection.request("GET", "/siri.xml")
        assert slow.wait(60)
        other = http.client.HTTPConnection("127.0.0.1", connection.port, timeout=60)
        # the slow answer comes no sooner than this one
        assert get(other, "/stats").status == 200
        other.close()
        asked_both.set()
        assert connection.getresponse().read()

    assert [1 <= seconds <= 3 for seconds in slept] == [True]


def test_the_same_seed_brings_the_same_troubles() -> None:
    def outcomes(seed: int) -> dict[str, int]:
        with serving(Trouble(fail=0.3, corrupt=0.3), seed) as connection:
            for _ in range(30):
                try:
                    get(connection, "/station_status.json")
                except http.client.IncompleteRead:
                    connection.close()
            counts: dict[str, int] = json.loads(get(connection, "/stats").body)
            return counts

    first, again, other = outcomes(1), outcomes(1), outcomes(2)

    assert first == again != other
    assert sum(first[name] for name in ("ok", "unavailable", "cut", "corrupt")) == 30
    assert set(first) == {*OUTCOMES, "refused_connections"}


# --- as a process ---


def test_it_says_where_it_is_and_a_signal_ends_it() -> None:
    with demo("feedserver", "--port", "0", "--fail", "0", "--corrupt", "0", "--slow", "0") as process:
        line = lines_of(process).readline()
        port = int(line.split()[1].rstrip("/").rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        assert abs(read_time("/subway.pb", get(connection, "/subway.pb").body) - time.time()) < 120
        connection.close()
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)

    assert line.endswith("feeds=/subway.pb,/station_status.json,/siri.xml\n")
    assert (process.returncode, errors) == (0, "")
    assert output.startswith("stopped ok=1 not_modified=0 unavailable=0 cut=0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "--port"), (["--port", "-1"], "needs a port"), (["--port", "0", "--frozen", "2"], "needs a share")],
)
def test_bad_usage_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)

    assert message in capsys.readouterr().err
