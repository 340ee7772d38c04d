"""What a request may carry, what becomes of it on its way, and how a stream is read."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable

import pytest

from aggregator.http.client import Client
from aggregator.http.connections import Connections
from aggregator.http.deadlines import Stopping
from aggregator.http.framing import Broken
from aggregator.http.request import Request
from aggregator.http.urls import Refused
from tests.feeds.webserver import Talk, WebServer, body, redirect, status
from tests.http.asking import client, get, on_all_names

QUESTION = b"<Siri><RequestorRef>secret</RequestorRef></Siri>"


# POST


def post(asking: Client, url: str, **options: object) -> tuple[int, bytes]:
    return get(asking, url, method="POST", body=QUESTION, headers={"content-type": "text/xml"}, **options)


def test_a_post_sends_its_body(server: WebServer, asking: Client) -> None:
    server.answers["/feed"] = body(b"here")

    assert post(asking, f"{server.url}/feed") == (200, b"here")

    asked = server.last("/feed")
    assert (asked.method, asked.body, asked.headers["content-type"]) == ("POST", QUESTION, "text/xml")


def test_a_long_body_is_sent_whole_while_the_server_reads_slowly(server: WebServer, asking: Client) -> None:
    server.answers["/feed"] = lambda talk: talk.answer(str(len(talk.asked.body)).encode())
    server.delay_s = 0.0

    assert get(asking, f"{server.url}/feed", method="POST", body=bytes(20_000_000)) == (200, b"20000000")


@pytest.mark.parametrize(
    ("line", "method", "sent"),
    [
        ("301 Moved Permanently", "GET", b""),
        ("302 Found", "GET", b""),
        ("303 See Other", "GET", b""),
        ("307 Temporary Redirect", "POST", QUESTION),
        ("308 Permanent Redirect", "POST", QUESTION),
    ],
)
def test_a_redirect_says_whether_the_body_is_sent_again(
    server: WebServer, asking: Client, line: str, method: str, sent: bytes
) -> None:
    server.answers |= {"/a": redirect("/b", line), "/b": body(b"here")}

    assert post(asking, f"{server.url}/a") == (200, b"here")

    assert (server.last("/b").method, server.last("/b").body) == (method, sent)


def test_the_body_is_not_sent_to_another_server(server: WebServer) -> None:
    server.answers |= {"/a": redirect(f"http://other.example:{server.port}/b", "307 Temporary Redirect")}

    with client(connections=Connections(on_all_names(server))) as asking, pytest.raises(Refused, match="not sent the"):
        post(asking, f"http://feed.example:{server.port}/a")

    assert server.count("/b") == 0


def test_a_post_is_never_sent_twice(server: WebServer, asking: Client) -> None:
    def once_only(talk: Talk) -> None:
        if talk.asked.method == "POST":
            talk.cut()
        talk.answer(b"here")

    server.answers["/feed"] = once_only
    get(asking, f"{server.url}/feed")

    with pytest.raises(ConnectionError):
        post(asking, f"{server.url}/feed")

    assert server.count("/feed") == 2


def test_without_leave_to_follow_a_redirect_is_the_answer(server: WebServer, asking: Client) -> None:
    server.answers["/feed"] = redirect("/b")

    assert get(asking, f"{server.url}/feed", follow=0)[0] == 302


def test_the_status_is_known_when_what_follows_fails(server: WebServer, asking: Client) -> None:
    server.answers["/feed"] = status("302 Found")
    exchange = asking.open(Request(f"{server.url}/feed", 60.0))

    with pytest.raises(Broken, match="HTTP 302 without a Location"), exchange:
        raise AssertionError("not reached")

    assert exchange.status == 302


# Streams


@pytest.mark.parametrize(
    ("headers", "pack", "end"),
    [
        ("Transfer-Encoding: chunked", lambda event: b"7\r\n%s\r\n" % event, b"0\r\n\r\n"),
        ("Content-Encoding: gzip\r\nConnection: close", gzip.compress, b""),
    ],
    ids=["chunks", "packed"],
)
def test_a_stream_is_handed_on_as_it_comes(
    server: WebServer, asking: Client, headers: str, pack: Callable[[bytes], bytes], end: bytes
) -> None:
    heard = [threading.Event() for _ in range(3)]

    def stream(talk: Talk) -> None:
        talk.send(f"HTTP/1.1 200 OK\r\n{headers}\r\n\r\n".encode())
        for number, event in enumerate(heard):
            talk.send(pack(b"event %d" % number))
            assert event.wait(60)
        talk.send(end)
        talk.cut()

    server.answers["/feed"] = stream
    came = []
    with asking.open(Request(f"{server.url}/feed", None, idle_s=60.0)) as exchange:
        for piece, event in zip(exchange.body(None), heard, strict=True):
            came.append(piece)
            event.set()

    assert came == [b"event 0", b"event 1", b"event 2"]


@pytest.mark.parametrize("length", ["Content-Length: 14", "Connection: close"])
def test_a_stream_may_have_a_length_or_no_end(server: WebServer, asking: Client, length: str) -> None:
    def stream(talk: Talk) -> None:
        talk.send(f"HTTP/1.1 200 OK\r\n{length}\r\n\r\nevent 1event 2".encode())
        if length == "Connection: close":
            talk.cut()

    server.answers["/feed"] = stream
    with asking.open(Request(f"{server.url}/feed", None, idle_s=60.0)) as exchange:
        assert b"".join(exchange.body(None)) == b"event 1event 2"


def test_a_stream_that_breaks_off_is_told_from_one_that_ends(server: WebServer, asking: Client) -> None:
    server.answers["/feed"] = lambda talk: (talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nevent"), talk.cut())

    with (
        asking.open(Request(f"{server.url}/feed", None, idle_s=60.0)) as exchange,
        pytest.raises(Broken, match="cut short: 4 bytes are missing"),
    ):
        list(exchange.body(None))


def test_a_stream_that_falls_silent_is_left(server: WebServer, asking: Client) -> None:
    server.answers["/feed"] = lambda talk: (talk.send(b"HTTP/1.1 200 OK\r\n\r\nevent"), talk.hang())

    came = []
    with (
        asking.open(Request(f"{server.url}/feed", None, idle_s=0.5)) as exchange,
        pytest.raises(TimeoutError),
    ):
        came += list(exchange.body(None))


@pytest.mark.parametrize("framing", ["Connection: close", "Transfer-Encoding: chunked"])
def test_the_time_for_the_opening_does_not_bound_the_stream(server: WebServer, asking: Client, framing: str) -> None:
    def feed(talk: Talk) -> None:
        talk.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())
        for _ in range(6):
            time.sleep(0.2)  # the stream must last longer than its opening may
            talk.send(b"1\r\ne\r\n" if "chunked" in framing else b"e")
        talk.send(b"0\r\n\r\n" if "chunked" in framing else b"")
        talk.cut()

    server.answers["/feed"] = feed
    with asking.open(Request(f"{server.url}/feed", None, idle_s=60.0, opening_s=0.5)) as exchange:
        assert b"".join(exchange.body(None)) == b"e" * 6


def test_a_stream_is_left_when_the_process_is_to_stop(server: WebServer) -> None:
    stopping = threading.Event()
    server.answers["/feed"] = lambda talk: (talk.send(b"HTTP/1.1 200 OK\r\n\r\nevent"), stopping.set(), talk.hang())

    with (
        client(connections=Connections(stopping=stopping.is_set)) as asking,
        pytest.raises(Stopping),  # outermost: it may come as soon as the head is read
        asking.open(Request(f"{server.url}/feed", None)) as exchange,
    ):
        list(exchange.body(None))
