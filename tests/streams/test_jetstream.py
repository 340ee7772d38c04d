"""Bluesky's Jetstream: filters, cursors, what comes again, what does not, and packed messages."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import zstandard

from aggregator.config.parsing import parse_settings
from aggregator.errors import ConfigError
from aggregator.http.framing import Broken
from aggregator.streams.platforms.jetstream import key_of, make_dictionary, moment_us
from aggregator.streams.platforms.schedule import Growth, Schedule
from aggregator.streams.platforms.table import PLATFORMS
from aggregator.streams.settings import StreamSettings, faults_of_stream
from tests.feeds.webserver import Talk, WebServer
from tests.streams.capturing import Captured
from tests.streams.websockets import Jetstream, Peer, event, frame

REAL = [line for line in (Path(__file__).parent / "data/jetstream.jsonl").read_bytes().splitlines() if line]
SOON = Schedule(network=Growth(0.05, 0.2), http=Growth(0.1, 1.0), rate_limit=Growth(0.2, 2.0))
NOW = 1_783_175_888_000_000
TYPE = "network.bsky.jetstream.subscribeEvents"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect again soon."""
    monkeypatch.setitem(PLATFORMS, "jetstream", PLATFORMS["jetstream"]._replace(schedule=SOON))


def timed(lines: list[bytes]) -> list[tuple[int, bytes]]:
    return [(json.loads(line)["time_us"], line) for line in lines]


def captured_from(server: Jetstream | WebServer, root: Path, **options: Any) -> Captured:
    return Captured(root, type="jetstream", url=server.url, **options)


def numbers(captured: Captured) -> list[int]:
    return [int(found["commit"]["rkey"]) for found in captured.events]


def test_real_events_come_once_each_over_reconnects_byte_for_byte(tmp_path: Path) -> None:
    with Jetstream() as server, captured_from(server, tmp_path) as captured:
        captured.until(lambda: captured.of_kind("connection"))
        for begin in range(0, 50, 10):
            server.publish(*timed(REAL[begin : begin + 10]))
            captured.until(lambda end=begin + 10: len(captured.events) == end)  # type: ignore[misc]
            server.cut()
            captured.until(lambda count=begin // 10 + 2: len(captured.of_kind("connection")) == count)  # type: ignore[misc]
        captured.until(lambda: captured.context.counts.get("repeated", 0) >= 50)

    assert captured.events == [json.loads(line) for line in REAL] and captured.gaps == []
    newest = max(json.loads(line)["time_us"] for line in REAL[:20])
    assert "cursor" not in server.asked[0] and server.asked[2]["cursor"] == [str(newest - 5_000_000)]
    assert not server.refused


def test_collections_and_accounts_are_asked_for(tmp_path: Path) -> None:
    options = {"collections": "app.bsky.feed.like,\n app.bsky.graph.*", "follow": "did:plc:a, did:web:b.org"}
    with Jetstream() as server, captured_from(server, tmp_path, **options) as captured:
        captured.until(lambda: captured.of_kind("connection"))

    assert server.asked[0] == {
        "wantedCollections": ["app.bsky.feed.like", "app.bsky.graph.*"], "wantedDids": ["did:plc:a", "did:web:b.org"]
    }  # fmt: skip
    [connection] = captured.of_kind("connection")
    assert connection["filters"] == {
        "collections": "app.bsky.feed.like,\n app.bsky.graph.*",
        "follow": options["follow"],
    }
    assert connection["url"].startswith("ws://127.0.0.1:")


def test_events_in_disorder_and_two_of_one_revision_are_all_kept(tmp_path: Path) -> None:
    events = [(NOW + offset, event(NOW + offset, n)) for n, offset in enumerate([0, 900_000, 300_000, 300_001, 7, 7])]
    with Jetstream() as server, captured_from(server, tmp_path) as captured:
        captured.until(lambda: captured.of_kind("connection"))
        server.publish(*events)
        captured.until(lambda: len(captured.events) == 6)
        server.cut()
        captured.until(lambda: captured.context.counts.get("repeated") == 6)

    assert numbers(captured) == [0, 1, 2, 3, 4, 5]
    assert server.asked[1]["cursor"] == [str(NOW + 900_000 - 5_000_000)]


def test_what_came_while_nobody_was_connected_comes_once_after_a_restart(tmp_path: Path) -> None:
    with Jetstream() as server:
        captured = captured_from(server, tmp_path)
        with captured:
            captured.until(lambda: captured.of_kind("connection"))
            server.publish(*((NOW + n, event(NOW + n, n)) for n in range(10)))
            captured.until(lambda: len(captured.events) == 10)
        server.publish(*((NOW + n, event(NOW + n, n)) for n in range(10, 20)))
        with captured:
            captured.until(lambda: len(captured.events) == 20)

    assert numbers(captured) == list(range(20)) and captured.gaps == []


def test_a_section_that_changes_its_platform_begins_anew_with_a_gap(tmp_path: Path) -> None:
    def events(talk: Talk) -> None:
        asked.append(talk.asked.headers.get("last-event-id"))
        talk.send(b'HTTP/1.1 200 OK\r\n\r\nid: [{"offset":7}]\ndata: {"n":1}\n\n')
        talk.hang()
        talk.cut()

    asked: list[str | None] = []
    with WebServer() as wikimedia, Jetstream() as server:
        wikimedia.answers["/recentchange"] = events
        captured = Captured(tmp_path, type="wikimedia", url=wikimedia.url)
        for count in (1, 2):
            captured.options |= {"type": "wikimedia", "url": wikimedia.url}
            with captured:
                captured.until(lambda count=count: len(captured.events) == 2 * count - 1)  # type: ignore[misc]
            captured.options |= {"type": "jetstream", "url": server.url}
            with captured:
                captured.until(lambda count=count: len(captured.of_kind("connection")) == 2 * count)  # type: ignore[misc]
                server.publish((NOW + count, event(NOW + count, count)))
                captured.until(lambda count=count: len(captured.events) == 2 * count)  # type: ignore[misc]

    assert asked == [None, None] and ["cursor" in query for query in server.asked] == [False, False]
    assert [gap["cause"] for gap in captured.gaps] == ["stopped"] * 3


def test_a_cursor_that_the_server_moves_in_silence_is_a_gap_up_to_the_first_event(tmp_path: Path) -> None:
    later = NOW + 40 * 3600 * 1_000_000
    with Jetstream() as server:
        captured = captured_from(server, tmp_path)
        with captured:
            captured.until(lambda: captured.of_kind("connection"))
            server.publish((NOW, event(NOW, 0)))
            captured.until(lambda: captured.events)
        server.floor_us = later
        server.publish((later - 1, event(later - 1, 1)), (later, event(later, 2)))
        captured.context.clock = lambda: later / 1e6
        with captured:
            captured.stage._reader._context.clock = time.time
            captured.until(lambda: len(captured.events) == 2)

    assert numbers(captured) == [0, 2]
    [gap] = captured.gaps
    assert (gap["from_ms"], gap["to_ms"], gap["cause"]) == (NOW // 1000, later // 1000, "cursor_too_old")
    assert gap["detail"] == "the server did not go back as far as it was asked to"


def test_a_time_far_in_the_future_moves_no_cursor() -> None:
    assert moment_us(event(NOW, 1), NOW // 1000) == NOW
    assert moment_us(event(NOW + 61_000_000, 1), NOW // 1000) == 0
    assert [moment_us(data, NOW // 1000) for data in (b"[]", b'{"time_us":"x"}', b"{", b"{}", b"[" * 100_000)] == [
        0
    ] * 5


def test_the_key_of_an_event_is_all_of_it() -> None:
    assert len({key_of(line) for line in REAL}) == len(REAL) == 50


# the second version


def enveloped(seq: int, at: str, kind: str = "commit", **fields: Any) -> bytes:
    payload = {"$type": f"{TYPE}#{kind}", "seq": seq, "did": "did:plc:a", "time": at, "witnessedAt": at, **fields}
    return json.dumps({"$type": "message", "payload": payload}).encode()


class Second:
    """A server of the second version that does over its connections what the test says."""

    def __init__(self, *plays: Any) -> None:
        self.plays = list(plays)
        self.asked: list[dict[str, list[str]]] = []
        self.server = WebServer()
        self.dictionary = b""
        self.url = self.server.url

    def __enter__(self) -> Second:
        outer = self

        class Answers(dict[str, Any]):
            def get(self, path: str, default: Any = None) -> Any:
                return outer.answer

        self.server.answers = Answers()
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__(None, None, None)

    def answer(self, talk: Talk) -> None:
        parts = urlsplit(talk.asked.path)
        if parts.path == "/xrpc/network.bsky.jetstream.getZstdDictionary":
            talk.answer(self.dictionary, "200 OK" if self.dictionary else "404 Not Found")
            return
        assert parts.path == f"/xrpc/{TYPE}"
        assert talk.asked.headers["sec-websocket-protocol"] == "xrpc.v1.json"
        self.asked.append(parse_qs(parts.query))
        play = self.plays.pop(0) if self.plays else None
        if isinstance(play, tuple):
            talk.answer(play[1], play[0])
            return
        peer = Peer(talk, "xrpc.v1.json").begin()
        if play is None:
            talk.hang()
        peer.send(*(frame(data) if isinstance(data, bytes) else frame(data[0], 2) for data in play or ()))
        talk.cut()


def second(server: Second, root: Path, **options: Any) -> Captured:
    return Captured(root, type="jetstream", url=server.url, endpoint="subscribeEvents", **options)


def test_the_second_version_is_asked_in_its_own_words_and_goes_on_by_time(tmp_path: Path) -> None:
    first = [enveloped(1, "2026-07-04T14:38:08.000001Z"), enveloped(2, "2026-07-04T14:38:09Z")]
    again = [*first, enveloped(3, "2026-07-04T14:38:09.5Z"), enveloped(4, "2026-07-04T14:38:09.6Z", "sync")]
    with Second(first, again) as server:
        options = {"collections": "app.bsky.feed.post", "follow": "did:plc:a"}
        with second(server, tmp_path, **options) as captured:
            captured.until(lambda: len(captured.events) == 4 and len(server.asked) == 3)

    assert [found["payload"]["seq"] for found in captured.events] == [1, 2, 3, 4] and captured.gaps == []
    assert server.asked[0] == {"collections": ["app.bsky.feed.post"], "dids": ["did:plc:a"]}
    assert [asked["cursor"] for asked in server.asked[1:]] == [["1783175884000000"], ["1783175884600000"]]


def test_what_the_second_version_says_of_an_old_cursor_is_recorded(tmp_path: Path) -> None:
    info = json.dumps(
        {"$type": "message", "payload": {"$type": f"{TYPE}#info", "name": "OutdatedCursor", "message": "from 900"}}
    ).encode()
    plays = [enveloped(1, "2026-07-04T14:38:08Z")], [info, enveloped(900, "2026-07-06T14:38:08Z")]
    with Second(*plays) as server, second(server, tmp_path) as captured:
        captured.until(lambda: len(captured.events) == 3)

    [gap] = captured.gaps
    assert (gap["cause"], gap["detail"]) == ("cursor_too_old", "OutdatedCursor from 900")
    assert gap["to_ms"] - gap["from_ms"] == 2 * 24 * 3600 * 1000
    assert captured.events[1]["payload"]["name"] == "OutdatedCursor"


def test_a_cursor_that_is_refused_is_given_up_with_a_gap(tmp_path: Path) -> None:
    refusal = ("400 Bad Request", b'{"error":"CursorTooOld","message":"floor 900"}')
    plays = [enveloped(1, "2026-07-04T14:38:08Z")], refusal, [enveloped(2, "2026-07-04T14:38:08Z")]
    with Second(*plays) as server, second(server, tmp_path) as captured:
        captured.until(lambda: len(captured.events) == 2)

    assert ["cursor" in asked for asked in server.asked[:3]] == [False, True, False]
    [gap] = captured.gaps
    assert gap["cause"] == "cursor_too_old" and gap["detail"].endswith('{"error":"CursorTooOld","message":"floor 900"}')


def test_a_consumer_that_is_too_slow_is_told_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    farewell = b'{"$type":"error","error":"ConsumerTooSlow","message":"1000 behind"}'
    with Second([enveloped(1, "2026-07-04T14:38:08Z"), farewell]) as server, second(server, tmp_path) as captured:
        captured.until(lambda: len(server.asked) == 2)

    assert captured.events[1]["error"] == "ConsumerTooSlow"
    assert "not connected: ConsumerTooSlow 1000 behind (disconnect)" in caplog.text


# packed messages


def dictionary_of(number: int) -> bytes:
    """Return a dictionary with a number, trained on real events."""
    trained = zstandard.train_dictionary(4096, REAL * 20).as_bytes()
    return trained[:4] + struct.pack("<I", number) + trained[8:]


def packer(dictionary: bytes) -> Any:
    return zstandard.ZstdCompressor(dict_data=zstandard.ZstdCompressionDict(dictionary)).compress


def test_messages_packed_with_the_dictionary_of_a_file_come_as_they_were(tmp_path: Path) -> None:
    dictionary = dictionary_of(77)
    (tmp_path / "dictionary").write_bytes(dictionary)
    options = {"compress": "yes", "zstd_dictionary": "dictionary"}
    with Jetstream(packer(dictionary)) as server, captured_from(server, tmp_path, **options) as captured:
        captured.until(lambda: captured.of_kind("connection"))
        server.publish(*timed(REAL))
        captured.until(lambda: len(captured.events) == 50)

    assert captured.events == [json.loads(line) for line in REAL] and server.asked[0]["compress"] == ["true"]


def test_the_second_version_hands_its_dictionary_out(tmp_path: Path) -> None:
    data = enveloped(1, "2026-07-04T14:38:08Z")
    dictionary = dictionary_of(123_456)
    with Second([(packer(dictionary)(data),)]) as server:
        server.dictionary = dictionary
        with second(server, tmp_path, compress="yes") as captured:
            captured.until(lambda: captured.events)
    assert server.asked[0]["zstdDictionary"] == ["123456"]

    with Second([data]) as server, second(server, tmp_path / "none", compress="yes") as captured:
        captured.until(lambda: captured.events)
    assert server.asked[0] == {}


def test_a_packed_message_costs_no_more_than_max_size(tmp_path: Path) -> None:
    dictionary = dictionary_of(5)
    unpack = make_dictionary(dictionary, 1024).unpack
    pack = packer(dictionary)

    assert unpack(pack(b"x" * 1024)) == b"x" * 1024 and len(unpack(pack(b"x" * 50_000_000))) == 1025
    for broken in (pack(b"x" * 500)[:-3], b"no zstd", packer(dictionary_of(6))(REAL[0])):
        with pytest.raises(Broken, match=r"packed|unpack"):
            unpack(broken)


def test_a_file_that_is_no_dictionary_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"nothing of the kind")
    for name, words in (("file", "no dictionary of zstd"), ("gone", "No such file")):
        with pytest.raises(ConfigError, match=f"zstd_dictionary: {words}"):
            Captured(
                tmp_path / f"of {name}", type="jetstream", compress="yes", zstd_dictionary=tmp_path / name
            ).__enter__()


# the section


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"track": "rain"}, "track"),
        ({"follow": "bsky.app"}, "follow"),
        ({"collections": "post"}, "collections"),
        ({"collections": ",".join(f"app.bsky.c{n}" for n in range(101))}, "collections"),
        ({"follow": ",".join(f"did:plc:{n}" for n in range(10_001))}, "follow"),
        ({"compress": "yes"}, "zstd_dictionary"),
        ({"zstd_dictionary": "x"}, "zstd_dictionary"),
        ({"type": "wikimedia", "collections": "app.bsky.feed.post"}, "collections"),
        ({"type": "wikimedia", "compress": "yes"}, "compress"),
    ],
)
def test_options_that_mean_nothing_or_too_much_are_refused(options: dict[str, str], option: str) -> None:
    settings, _ = parse_settings(StreamSettings, {"type": "jetstream", "pushto": "q", **options})
    assert settings is not None
    assert [name for name, _ in faults_of_stream(settings)] == [option]


def test_the_most_that_is_allowed_is_allowed() -> None:
    options = {
        "collections": ",".join(f"app.bsky.c{n}" for n in range(100)),
        "follow": ",".join(f"did:plc:{n}" for n in range(10_000)),
        "compress": "yes",
        "endpoint": "subscribeEvents",
    }
    settings, _ = parse_settings(StreamSettings, {"type": "jetstream", "pushto": "q", **options})
    assert settings is not None and not list(faults_of_stream(settings))
