"""Streams over WebSockets: frames of every shape, silence, refusals, proxies and TLS."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.frames import Opcode

from aggregator.config.parsing import parse_settings
from aggregator.errors import ConfigError
from aggregator.http.urls import basic
from aggregator.streams.platforms.schedule import Growth, Schedule
from aggregator.streams.platforms.table import PLATFORMS
from aggregator.streams.settings import StreamSettings, faults_of_stream
from tests.feeds.webserver import Talk, WebServer, status
from tests.http.asking import Authority
from tests.http.proxyserver import ProxyServer
from tests.streams.capturing import Captured
from tests.streams.websockets import Peer, closing, frame

SOON = Schedule(
    network=Growth(0.05, 0.2, add_s=0.05), http=Growth(0.1, 1.0, factor=2.0), rate_limit=Growth(0.2, 2.0, factor=2.0)
)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect again soon."""
    monkeypatch.setitem(PLATFORMS, "websocket", PLATFORMS["websocket"]._replace(schedule=SOON))


def once(first: Callable[[Peer], object]) -> Callable[[Talk], object]:
    """Talk in this way over the first connection, and be silent over the others."""
    begun = threading.Event()

    def talk(talk: Talk) -> None:
        peer = Peer(talk).begin()
        if not begun.is_set():
            begun.set()
            first(peer)
        talk.hang()
        talk.cut()

    return talk


@contextmanager
def capturing(root: Path, answer: Any, **options: Any) -> Iterator[tuple[WebServer, Captured]]:
    """Capture what a server sends that answers in this way."""
    with WebServer() as server:
        server.answers["/stream"] = answer
        url = server.url.replace("http", "ws", 1)
        with Captured(root, type="websocket", url=f"{url}/stream", **options) as captured:
            yield server, captured


def shows(captured: Captured, text: str) -> Callable[[], bool]:
    """Return whether the stream says this of its connection."""
    return lambda: text in captured.context.notes.get("connection", "")


def test_messages_come_whole_however_their_frames_are_cut(tmp_path: Path) -> None:
    big = b'{"n":3,"text":"' + b"x" * 70_000 + b'"}'

    def talk(peer: Peer) -> None:
        peer.send(frame(b'{"n":', last=False), frame(b"", 9), frame(b"1}", 0))
        for byte in frame(b'{"n":2}', 2) + frame(big)[:200]:
            peer.send(bytes([byte]))
        peer.send(frame(big)[200:], frame(b"", 1), frame(b"no json \xff", 2))

    with capturing(tmp_path, once(talk)) as (server, captured):
        captured.until(lambda: len(captured.events) == 5)

    assert [event and event["n"] for event in captured.events] == [1, 2, 3, None, None]
    assert captured.of_kind("event")[4]["text"] == "no json \\xff" and captured.counts["no_json"] == 2
    [connection] = captured.of_kind("connection")
    assert connection["url"] == server.url.replace("http", "ws") + "/stream"


def test_frames_in_the_packet_of_the_handshake_are_not_lost(tmp_path: Path) -> None:
    def talk(talk: Talk) -> None:
        Peer(talk).begin(frame(b"1"), frame(b"2"))
        talk.hang()

    with capturing(tmp_path, talk) as (_, captured):
        captured.until(lambda: captured.events == [1, 2])


def test_pings_are_answered_and_the_close_frame_is_echoed_and_recorded(tmp_path: Path) -> None:
    seen = []

    def talk(peer: Peer) -> None:
        peer.send(frame(b"are you there", 9))
        seen.append(peer.wait_for(Opcode.PONG))
        peer.send(frame(b"1"), closing(1013, "back\x1b soon"))
        seen.append(peer.wait_for(Opcode.CLOSE))
        peer.talk.cut()

    with capturing(tmp_path, once(talk)) as (_, captured):
        captured.until(lambda: captured.gaps)

    assert seen == [b"are you there", b"\x03\xf5back\x1b soon"]
    [gap] = captured.gaps
    assert (gap["cause"], gap["detail"]) == ("disconnect", "closed with 1013: back  soon")
    assert "partial" not in captured.counts


def test_a_message_that_a_disconnect_cut_is_dropped_and_counted(tmp_path: Path) -> None:
    def in_a_frame(peer: Peer) -> None:
        peer.send(frame(b"1"), frame(b'{"n":2}')[:4])
        peer.talk.cut()

    def between_frames(peer: Peer) -> None:
        peer.send(frame(b"1"), frame(b'{"n":2', last=False))
        peer.talk.cut()

    for number, talk in enumerate((in_a_frame, between_frames)):
        with capturing(tmp_path / str(number), once(talk)) as (_, captured):
            captured.until(captured.has_gaps)

        assert captured.events == [1] and captured.counts["partial"] == 1
        assert captured.gaps[0]["detail"].startswith("the connection ended without a close frame")


def test_a_message_that_is_too_large_is_passed_over_and_one_beyond_reason_ends_the_connection(tmp_path: Path) -> None:
    def talk(peer: Peer) -> None:
        peer.send(frame(b"x" * 1000, last=False), frame(b"x" * 100, 0), frame(b"1"), frame(b"x" * 70_000), frame(b"2"))
        peer.send(b"\x82\x7f" + (2**40).to_bytes(8, "big"))
        peer.wait_for(Opcode.CLOSE)
        peer.talk.cut()

    with capturing(tmp_path, once(talk), max_size=1024) as (_, captured):
        captured.until(lambda: len(captured.gaps) == 3)

    assert captured.events == [1, 2] and captured.counts["too_large"] == 3
    assert [gap["cause"] for gap in captured.gaps] == ["too_large"] * 3
    assert captured.gaps[0]["detail"].startswith("a message of 1100 bytes")
    assert captured.gaps[2]["detail"] == "a message of more than 16 MB"


def test_a_server_that_answers_pings_is_not_given_up_however_quiet_it_is(tmp_path: Path) -> None:
    pings: list[float] = []

    def talk(peer: Peer) -> None:
        while len(pings) < 6:
            peer.wait_for(Opcode.PING)
            pings.append(time.monotonic())
            peer.send(frame(b"", 10))
        peer.send(frame(b"1"))

    with capturing(tmp_path, once(talk), stall_after="1s") as (server, captured):
        captured.until(lambda: captured.events)

    assert pings[-1] - pings[0] > 1.5 and not captured.gaps and len(server.asked) == 1


def test_silence_and_bytes_that_make_no_frame_are_a_stall(tmp_path: Path) -> None:
    def dripping(peer: Peer) -> None:
        peer.send(frame(b"1"), b"\x81\x7f" + (100_000).to_bytes(8, "big"))
        while not peer.talk.stop.wait(0.1):
            peer.send(b"x")

    for number, talk in enumerate((lambda peer: peer.send(frame(b"1")), dripping)):
        with capturing(tmp_path / str(number), once(talk), stall_after="1s") as (_, captured):
            captured.until(captured.has_gaps)

        assert captured.gaps[0]["cause"] == "stall" and captured.gaps[0]["detail"].startswith("nothing came for 1 s")


def test_the_headers_of_the_answer_have_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregator.streams.platforms.asking.OPENING_S", 1.0)

    def dripping(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 101 x\r\n")
        while not talk.stop.wait(0.1):
            talk.send(b"X-Y: z\r\n")

    with capturing(tmp_path, dripping) as (_, captured):
        captured.until(shows(captured, "no answer within"))


def test_a_stream_ends_within_a_second_whatever_the_server_does(tmp_path: Path) -> None:
    with WebServer() as server:
        server.answers["/stream"] = once(lambda peer: peer.send(frame(b"1")))
        with Captured(tmp_path, type="websocket", url=f"{server.url}/stream") as captured:
            captured.until(lambda: captured.events)
            begun = time.monotonic()
        assert time.monotonic() - begun < 1.0


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (status("200 OK"), "HTTP 200 OK"),
        (status("503 Service Unavailable", Retry_After="7"), "HTTP 503 Service Unavailable"),
        (lambda talk: talk.send(b"HTTP/1.1 101 x\r\nUpgrade: h2c\r\n\r\n"), "does not lead to a WebSocket"),
        (
            lambda talk: talk.send(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"),
            "does not fit the question",
        ),
        (lambda talk: Peer(talk, Sec_WebSocket_Extensions="permessage-deflate").begin(), "nobody asked for: perm"),
        (lambda talk: Peer(talk, "chat").begin(), "nobody asked for: chat"),
    ],
)
def test_an_answer_that_is_no_websocket_is_told(tmp_path: Path, answer: Any, shown: str) -> None:
    with capturing(tmp_path, answer) as (_, captured):
        captured.until(shows(captured, shown))
    assert not captured.of_kind("connection")


def test_a_server_that_refuses_is_left_alone_for_an_hour_or_as_long_as_it_says(tmp_path: Path) -> None:
    for line, wanted in (("401 Unauthorized", "again in 3600 s"), ("429 Too Many Requests", "again in 77 s")):
        with capturing(tmp_path / line[:3], status(line, Retry_After="77")) as (server, captured):
            captured.until(shows(captured, wanted))
            assert len(server.asked) == 1


def test_tls_with_an_authority_and_a_certificate_of_ones_own_and_a_proxy(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    serving = authority.serving("stream.example")
    serving.load_verify_locations(str(authority.file))
    serving.verify_mode = ssl.CERT_REQUIRED
    shown = tmp_path / "client.pem"
    authority.authority.issue_cert("capture").private_key_and_cert_chain_pem.write_to_path(str(shown))

    with WebServer(tls=serving) as server, ProxyServer({"stream.example": server.port}) as proxy:
        server.answers["/stream"] = once(lambda peer: peer.send(frame(b"1")))
        options = {"ca_file": authority.file, "client_cert": shown, "proxy": proxy.address}
        with Captured(tmp_path, type="websocket", url="wss://stream.example/stream", **options) as captured:
            captured.until(lambda: captured.events)

    assert [passed.method for passed in proxy.passed] == ["CONNECT"]


def test_a_proxy_is_asked_for_a_tunnel_also_without_tls(tmp_path: Path) -> None:
    with WebServer() as server, ProxyServer({"stream.example": server.port}, basic("me", "secret")) as proxy:
        server.answers["/stream"] = once(lambda peer: peer.send(frame(b"1")))
        address = proxy.address.replace("://", "://me:secret@")
        with Captured(tmp_path, type="websocket", url="ws://stream.example/stream", proxy=address) as captured:
            captured.until(lambda: captured.events)

    assert [(passed.method, passed.target) for passed in proxy.passed] == [("CONNECT", "stream.example:80")]
    assert "proxy-authorization" not in server.asked[0].headers


def test_a_file_for_tls_that_cannot_be_used_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ConfigError, match="ca_file: cannot be used"):
        Captured(tmp_path, type="websocket", url="wss://x.example/", ca_file="ca.pem").__enter__()


def test_a_package_that_is_missing_is_told_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == "websockets"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "websockets", None)
    with pytest.raises(ConfigError, match=r"WebSockets need a package: .* -m pip install websockets"):
        Captured(tmp_path, type="websocket", url="wss://x.example/").__enter__()


def test_addresses_of_websockets_are_taken_where_they_mean_something() -> None:
    def faults(**options: str) -> list[str]:
        settings, faults = parse_settings(StreamSettings, {"pushto": "q", **options})
        return [str(fault) for fault in (faults or list(faults_of_stream(settings)))] if settings or faults else []

    assert not faults(type="websocket", url="ws://x.org/a") and not faults(type="websocket", url="https://x.org/a")
    assert not faults(type="jetstream", url="wss://x.org")
    assert "WebSocket" in faults(type="sse", url="wss://x.org/")[0]
    assert faults(type="websocket", url="ftp://x.org/") and faults(type="websocket")
