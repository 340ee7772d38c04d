"""One download from a server that may be slow, broken or hostile."""

from __future__ import annotations

import gzip
import hashlib
import os
import select
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.utils import formatdate

import pytest
import trustme

from aggregator.feeds.fetching.fetch import Answer, Failed, Fetcher, Request
from aggregator.http.addresses import Address, is_public
from aggregator.http.addresses import resolve as system_resolve
from aggregator.http.client import DRAIN_BYTES
from aggregator.http.connections import IDLE_S, Connections
from aggregator.http.deadlines import Stopping
from tests.feeds.captures import capture, subway_captures
from tests.feeds.webserver import Talk, WebServer, body, dribble, packed, redirect, status

CAPTURE = subway_captures()[0][1]


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    fetcher = Fetcher("tests/1", Connections(resolve))
    yield fetcher
    fetcher.connections.close()


def resolve(host: str, port: int) -> list[Address]:
    """Let names below .public.example look like hosts of the Internet, though they are this machine."""
    if host.endswith(".public.example"):
        return [Address(socket.AF_INET, ("127.0.0.1", port), True)]
    return system_resolve(host, port)


def fetch(fetcher: Fetcher, url: str, **options: object) -> tuple[Answer, bytes]:
    pieces: list[bytes] = []
    settings = {"headers": {}, "timeout_s": 60.0, "max_size": 10_000_000, **options}
    answer = fetcher.fetch(Request(url, **settings), pieces.append)  # type: ignore[arg-type]
    return answer, b"".join(pieces)


def failure(fetcher: Fetcher, url: str, **options: object) -> Failed:
    with pytest.raises(Failed) as raised:
        fetch(fetcher, url, **options)
    return raised.value


def test_a_body_comes_whole_with_its_size_and_hash(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/feed"] = body(CAPTURE, ETag='"1"')

    answer, data = fetch(fetcher, f"{server.url}/feed")

    assert data == CAPTURE
    assert answer.status == 200
    assert (answer.size_bytes, answer.wire_bytes) == (len(CAPTURE), len(CAPTURE))
    assert answer.sha256 == hashlib.sha256(CAPTURE).hexdigest()
    assert answer.headers["etag"] == '"1"'


def test_it_says_who_asks_and_that_it_can_unpack(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/feed"] = body(b"x")

    fetch(fetcher, f"{server.url}/feed", headers={"x-api-key": "secret", "user-agent": "own/1"})

    asked = server.last("/feed").headers
    assert asked["host"] == f"127.0.0.1:{server.port}"
    assert asked["accept-encoding"] == "gzip"
    assert (asked["x-api-key"], asked["user-agent"]) == ("secret", "own/1")
    fetch(fetcher, f"{server.url}/feed")
    assert server.last("/feed").headers["user-agent"] == "tests/1"


def test_a_login_in_the_address_is_sent_as_one(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/feed"] = body(b"x")

    fetch(fetcher, f"http://me:se%40cret@127.0.0.1:{server.port}/feed")

    assert server.last("/feed").headers["authorization"] == "Basic bWU6c2VAY3JldA=="


def test_a_connection_is_kept_and_used_again(server: WebServer, fetcher: Fetcher) -> None:
    server.answers |= {"/a": packed(CAPTURE), "/b": status("304 Not Modified"), "/c": status("500 Oops")}

    fetch(fetcher, f"{server.url}/a")
    fetch(fetcher, f"{server.url}/b", etag='"1"')
    failure(fetcher, f"{server.url}/c")
    fetch(fetcher, f"{server.url}/a")

    assert {asked.connection for asked in server.asked} == {1}


def test_a_kept_connection_that_the_server_closed_is_replaced(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/feed"] = body(b"x")
    fetch(fetcher, f"{server.url}/feed")
    server.drop_connections()

    answer, _ = fetch(fetcher, f"{server.url}/feed")

    assert answer.status == 200
    assert server.last("/feed").connection == 2


def test_a_kept_connection_that_is_closed_under_the_request_is_tried_anew_once(
    server: WebServer, fetcher: Fetcher
) -> None:
    def first_time_only(talk: Talk) -> None:
        if talk.asked.connection == 1 and server.count("/feed") > 1:
            talk.cut()
        talk.answer(b"x")

    server.answers["/feed"] = first_time_only
    fetch(fetcher, f"{server.url}/feed")

    fetch(fetcher, f"{server.url}/feed")

    assert [asked.connection for asked in server.asked] == [1, 1, 2]


def test_a_server_that_closes_each_connection_is_asked_over_new_ones(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/feed"] = lambda talk: (talk.answer(b"x", Connection="close"), talk.cut())

    for _ in range(2):
        assert fetch(fetcher, f"{server.url}/feed")[1] == b"x"

    assert server.last("/feed").connection == 2


def test_a_connection_that_was_idle_for_long_is_not_used_again(server: WebServer) -> None:
    now = [1000.0]
    fetcher = Fetcher("tests/1", Connections(clock=lambda: now[0]))
    server.answers["/feed"] = body(b"x")

    for pause_s in (0.0, IDLE_S - 0.1, IDLE_S):
        now[0] += pause_s
        fetch(fetcher, f"{server.url}/feed")

    fetcher.connections.close()
    assert [asked.connection for asked in server.asked] == [1, 1, 2]


def test_what_a_server_sends_unasked_is_not_taken_for_the_next_answer(server: WebServer, fetcher: Fetcher) -> None:
    sent = threading.Event()

    def twice(talk: Talk) -> None:
        talk.answer(b"first")
        talk.answer(b"smuggled")
        sent.set()

    server.answers |= {"/twice": twice, "/feed": body(b"second")}
    fetch(fetcher, f"{server.url}/twice")
    assert sent.wait(60)

    assert fetch(fetcher, f"{server.url}/feed")[1] == b"second"


def test_it_is_not_taken_either_when_it_comes_later(server: WebServer, fetcher: Fetcher) -> None:
    heard, sent = threading.Event(), threading.Event()

    def twice(talk: Talk) -> None:
        talk.answer(b"first")
        heard.wait(60)
        talk.answer(b"smuggled")
        sent.set()

    server.answers |= {"/twice": twice, "/feed": body(b"second")}
    fetch(fetcher, f"{server.url}/twice")
    heard.set()
    assert sent.wait(60)

    assert fetch(fetcher, f"{server.url}/feed")[1] == b"second"


def test_validators_are_asked_with_and_304_is_an_answer(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/feed"] = status("304 Not Modified", ETag='"7"')

    answer, data = fetch(fetcher, f"{server.url}/feed", etag='"7"', modified="Thu, 08 Feb 2024 12:59:15 GMT")

    assert (answer.status, data) == (304, b"")
    asked = server.last("/feed").headers
    assert asked["if-none-match"] == '"7"'
    assert asked["if-modified-since"] == "Thu, 08 Feb 2024 12:59:15 GMT"


def test_304_without_a_question_is_a_failure(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/feed"] = status("304 Not Modified")

    assert failure(fetcher, f"{server.url}/feed").status == 304


@pytest.mark.parametrize(
    "line", ["404 Not Found", "500 Internal Server Error", "204 No Content", "206 Partial Content"]
)
def test_any_other_status_is_a_failure_that_names_it(server: WebServer, fetcher: Fetcher, line: str) -> None:
    server.answers["/feed"] = status(line)

    failed = failure(fetcher, f"{server.url}/feed")

    assert str(failed) == f"HTTP {line}"
    assert failed.status == int(line[:3])


@pytest.mark.parametrize(
    ("line", "headers", "expected"),
    [
        ("429 Too Many Requests", {"Retry-After": "30"}, 30),
        ("503 Service Unavailable", {"Retry-After": "120"}, 120),
        (
            "503 Service Unavailable",
            {"Date": "Thu, 08 Feb 2024 12:00:00 GMT", "Retry-After": "Thu, 08 Feb 2024 12:05:00 GMT"},
            300,
        ),
        ("503 Service Unavailable", {"Retry-After": "soon"}, None),
        ("404 Not Found", {"Retry-After": "30"}, None),
    ],
)
def test_the_wish_to_be_left_alone_is_heard(
    server: WebServer, fetcher: Fetcher, line: str, headers: dict[str, str], expected: float | None
) -> None:
    server.answers["/feed"] = status(line, **headers)

    assert failure(fetcher, f"{server.url}/feed").retry_after_s == expected


@pytest.mark.parametrize("date", ["", "Date: yesterday\r\n"])
def test_a_moment_until_which_to_be_left_alone_needs_no_date_beside_it(
    server: WebServer, fetcher: Fetcher, date: str
) -> None:
    until = formatdate(time.time() + 3600, usegmt=True)
    head = f"HTTP/1.1 503 Away\r\n{date}Retry-After: {until}\r\nContent-Length: 0\r\n\r\n"
    server.answers["/feed"] = lambda talk: talk.send(head.encode())

    retry_after_s = failure(fetcher, f"{server.url}/feed").retry_after_s

    assert retry_after_s and 3000 < retry_after_s <= 3600


@pytest.mark.parametrize("then", [Talk.cut, Talk.hang])
def test_it_is_heard_when_the_page_that_comes_with_it_is_cut_or_hangs(
    server: WebServer, fetcher: Fetcher, then: Callable[[Talk], None]
) -> None:
    head = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 30\r\nContent-Length: 100\r\n\r\n"
    server.answers["/feed"] = lambda talk: (talk.send(head + b"<html>"), then(talk))

    failed = failure(fetcher, f"{server.url}/feed")

    assert (str(failed), failed.status, failed.retry_after_s) == ("HTTP 429 Too Many Requests", 429, 30)


@pytest.mark.parametrize("then", [Talk.cut, Talk.hang])
def test_a_redirect_is_followed_when_the_page_that_comes_with_it_is_cut_or_hangs(
    server: WebServer, fetcher: Fetcher, then: Callable[[Talk], None]
) -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 100\r\n\r\n"
    server.answers |= {"/a": lambda talk: (talk.send(head + b"<html>"), then(talk)), "/b": body(b"here")}

    assert fetch(fetcher, f"{server.url}/a")[1] == b"here"


@pytest.mark.parametrize(("size", "connection"), [(DRAIN_BYTES, 1), (DRAIN_BYTES + 1, 2)])
def test_a_page_that_comes_with_a_failure_is_read_when_it_is_short(
    server: WebServer, fetcher: Fetcher, size: int, connection: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aggregator.http.client.DRAIN_S", 60.0)  # only the size is to decide, not how busy we are
    server.answers |= {"/a": lambda talk: talk.answer(bytes(size), "404 Not Found"), "/b": body(b"x")}
    failure(fetcher, f"{server.url}/a")

    fetch(fetcher, f"{server.url}/b")

    assert server.last("/b").connection == connection


# Packing


def test_gzip_is_unpacked_and_both_sizes_are_told(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/feed"] = packed(CAPTURE)

    answer, data = fetch(fetcher, f"{server.url}/feed")

    assert data == CAPTURE
    assert answer.wire_bytes == len(gzip.compress(CAPTURE)) < answer.size_bytes == len(CAPTURE)


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 131072, 1_000_000])
def test_bodies_of_every_size_are_unpacked_whole(server: WebServer, fetcher: Fetcher, size: int) -> None:
    server.answers["/feed"] = packed(b"a" * size)

    assert fetch(fetcher, f"{server.url}/feed")[1] == b"a" * size


def test_gzip_of_several_members_and_deflate_are_unpacked(server: WebServer, fetcher: Fetcher) -> None:
    two = gzip.compress(b"one,") + gzip.compress(b"two")
    server.answers["/two"] = body(two, Content_Encoding="gzip")
    server.answers["/deflate"] = body(zlib.compress(b"three"), Content_Encoding="deflate")

    assert fetch(fetcher, f"{server.url}/two")[1] == b"one,two"
    assert fetch(fetcher, f"{server.url}/deflate")[1] == b"three"


def test_gzip_that_no_header_tells_of_is_unpacked_unless_it_is_wanted(server: WebServer, fetcher: Fetcher) -> None:
    file = capture("gtfsrt-bad/derived-nyct-ace.pb.gz")
    server.answers["/feed"] = body(file)

    answer, pieces = fetch(fetcher, f"{server.url}/feed")
    kept, as_they_came = fetch(fetcher, f"{server.url}/feed", keep_gzip=True)

    assert pieces == gzip.decompress(file) and answer.size_bytes == len(pieces) > answer.wire_bytes == len(file)
    assert as_they_came == file and kept.size_bytes == len(file)


@pytest.mark.parametrize("padding", [1, 511, 200_000])
@pytest.mark.parametrize("headers", [{}, {"Content_Encoding": "gzip"}])
def test_zeros_behind_the_end_of_gzip_are_padding(
    server: WebServer, fetcher: Fetcher, padding: int, headers: dict[str, str]
) -> None:
    server.answers["/feed"] = body(gzip.compress(b"one") + bytes(padding), **headers)

    assert fetch(fetcher, f"{server.url}/feed")[1] == b"one"


def test_gzip_that_no_header_tells_of_is_bounded_and_must_be_whole(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/bomb"] = body(gzip.compress(bytes(6_000_000)))
    server.answers["/cut"] = body(gzip.compress(CAPTURE)[:-9])

    assert "larger than max_size" in str(failure(fetcher, f"{server.url}/bomb", max_size=5_000_000))
    assert "the packed body has no end" in str(failure(fetcher, f"{server.url}/cut"))


def test_a_gzip_bomb_is_refused_before_it_goes_off(server: WebServer, fetcher: Fetcher) -> None:
    bomb = zlib.compressobj(9, wbits=31)
    # 1 GB in 1 MB
    server.answers["/bomb"] = body(
        b"".join(bomb.compress(bytes(2**20)) for _ in range(1024)) + bomb.flush(), Content_Encoding="gzip"
    )
    written: list[int] = []

    with pytest.raises(Failed, match="larger than max_size"):
        fetcher.fetch(Request(f"{server.url}/bomb", {}, 60.0, 5_000_000), lambda piece: written.append(len(piece)))

    assert sum(written) <= 5_000_000
    assert max(written) <= 65536


def test_a_packed_body_of_nothing_without_an_end_is_refused_at_max_size(server: WebServer, fetcher: Fetcher) -> None:
    def endless(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Encoding: gzip\r\n\r\n")
        while True:
            talk.send(gzip.compress(b"") * 1000)

    server.answers["/feed"] = endless

    assert "larger than max_size" in str(failure(fetcher, f"{server.url}/feed", max_size=200_000))


def test_a_packed_body_that_is_cut_or_not_packed_is_refused(server: WebServer, fetcher: Fetcher) -> None:
    whole = gzip.compress(CAPTURE)
    server.answers["/cut"] = body(whole[:-9], Content_Encoding="gzip")
    server.answers["/plain"] = body(CAPTURE, Content_Encoding="gzip")
    server.answers["/br"] = body(CAPTURE, Content_Encoding="br")

    assert "the packed body has no end" in str(failure(fetcher, f"{server.url}/cut"))
    assert "not packed as its headers say" in str(failure(fetcher, f"{server.url}/plain"))
    assert "packed as 'br', which nobody asked for" in str(failure(fetcher, f"{server.url}/br"))


# Size and time


def test_a_body_that_is_announced_too_large_is_not_read(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/feed"] = lambda talk: talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")

    failed = failure(fetcher, f"{server.url}/feed")

    assert str(failed) == "larger than max_size (1000000000000 bytes announced)"
    assert failed.status == 200


def test_a_body_without_an_end_is_refused_at_max_size(server: WebServer, fetcher: Fetcher) -> None:
    def endless(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            talk.send(bytes(65536))

    server.answers["/feed"] = endless

    assert "more than 10000000 bytes" in str(failure(fetcher, f"{server.url}/feed"))


def test_a_body_that_is_shorter_than_announced_is_refused(server: WebServer, fetcher: Fetcher) -> None:
    def short(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 60)
        talk.cut()

    server.answers["/feed"] = short

    assert str(failure(fetcher, f"{server.url}/feed")) == "cut short: 40 bytes are missing"


@pytest.mark.parametrize("sent", [b"5\r\nhello\r\n", b"5\r\nhel", b"", b"5\r\nhello\r\nzz\r\n"])
def test_a_chunked_body_that_is_cut_is_refused(server: WebServer, fetcher: Fetcher, sent: bytes) -> None:
    def cut(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + sent)
        talk.cut()

    server.answers["/feed"] = cut

    assert str(failure(fetcher, f"{server.url}/feed")) == "the answer broke off"


def test_a_chunked_body_comes_whole_and_its_connection_is_kept(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/feed"] = lambda talk: talk.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX: y\r\n\r\n"
    )

    for _ in range(2):
        assert fetch(fetcher, f"{server.url}/feed")[1] == b"hello world"

    assert server.last("/feed").connection == 1


@pytest.mark.parametrize("hang", ["before the answer", "in the headers", "in the body"])
def test_a_server_that_says_nothing_is_left_when_the_time_is_over(
    server: WebServer, fetcher: Fetcher, hang: str
) -> None:
    sent = {
        "before the answer": b"",
        "in the headers": b"HTTP/1.1 200 OK\r\nX: ",
        "in the body": b"HTTP/1.1 200 OK\r\n\r\nx",
    }
    server.answers["/feed"] = lambda talk: (talk.send(sent[hang]), talk.hang())

    failed = failure(fetcher, f"{server.url}/feed", timeout_s=0.5)

    assert str(failed) == "no whole answer within 0.5 s"


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n"])
def test_a_server_that_sends_a_byte_now_and_then_is_left_too(server: WebServer, fetcher: Fetcher, head: bytes) -> None:
    def slowly(talk: Talk) -> None:
        talk.send(head)
        while not talk.stop.wait(0.05):
            talk.send(b"x")

    # both go on for longer than any test may
    server.answers |= {"/head": slowly, "/body": dribble(bytes(100_000), 0.05)}

    for path in ("/head", "/body"):
        assert "no whole answer" in str(failure(fetcher, f"{server.url}{path}", timeout_s=0.5))


def test_an_address_where_nobody_listens_is_named_as_that(fetcher: Fetcher) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # so that nobody else gets the port meanwhile

        assert str(failure(fetcher, f"http://127.0.0.1:{bound.getsockname()[1]}/")) == "Connection refused"


def test_a_host_that_does_not_exist_is_named_as_that(fetcher: Fetcher) -> None:
    assert "the host's name cannot be resolved" in str(failure(fetcher, "http://nowhere.invalid/"))


# Hostile answers


@pytest.mark.parametrize(
    "head",
    [
        b"".join(b"X-%d: y\r\n" % n for n in range(100_000)),
        b"X: " + b"y" * 10_000_000 + b"\r\n",
    ],
    ids=["many", "long"],
)
def test_a_header_bomb_is_refused(server: WebServer, fetcher: Fetcher, head: bytes) -> None:
    server.answers["/feed"] = lambda talk: talk.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")

    assert str(failure(fetcher, f"{server.url}/feed")) == "headers of more than 262144 bytes or 10000 lines"


@pytest.mark.parametrize("sent", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00\xff\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"\r\n"])
def test_what_is_no_http_is_refused(server: WebServer, fetcher: Fetcher, sent: bytes) -> None:
    def nonsense(talk: Talk) -> None:
        talk.send(sent)
        talk.cut()

    server.answers["/feed"] = nonsense

    text = str(failure(fetcher, f"{server.url}/feed"))

    assert text.startswith("BadStatusLine")
    assert text.isprintable()


def test_answers_that_only_promise_one_are_bounded(server: WebServer, fetcher: Fetcher) -> None:
    def promise(talk: Talk) -> None:
        while True:
            talk.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    server.answers["/feed"] = promise

    assert str(failure(fetcher, f"{server.url}/feed")) == "more than 100 answers that only promise one"


def test_headers_behind_the_last_chunk_are_bounded(server: WebServer, fetcher: Fetcher) -> None:
    def endless(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        while True:
            talk.send(b"X: y\r\n" * 1000)

    server.answers["/feed"] = endless

    assert "headers of more than" in str(failure(fetcher, f"{server.url}/feed"))


@pytest.mark.parametrize("line", ["100 Continue", "102 Processing", "103 Early Hints", "199 Anything"])
def test_what_comes_before_an_answer_is_not_taken_for_one(server: WebServer, fetcher: Fetcher, line: str) -> None:
    def early(talk: Talk) -> None:
        talk.send(f"HTTP/1.1 {line}\r\nLink: </x>; rel=preload\r\n\r\n".encode())
        talk.answer(talk.asked.path.encode())

    server.answers |= {"/one": early, "/two": early}

    assert fetch(fetcher, f"{server.url}/one")[1] == b"/one"
    assert fetch(fetcher, f"{server.url}/two")[1] == b"/two"
    assert server.last("/two").connection == 1


def test_a_change_of_the_protocol_is_refused(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/feed"] = lambda talk: talk.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nx")

    assert str(failure(fetcher, f"{server.url}/feed")) == "HTTP 101: another protocol, which nobody asked for"


@pytest.mark.parametrize("size", [b"-1", b"-5", b"+5", b"0x5", b"1_0", b"", b"f" * 16, b"5" + b" " * 5000])
def test_a_chunk_of_a_size_that_is_none_is_refused(server: WebServer, fetcher: Fetcher, size: bytes) -> None:
    def answer(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\nhello\r\n0\r\n\r\n")
        talk.hang()

    server.answers["/feed"] = answer
    written: list[bytes] = []

    with pytest.raises(Failed, match="the answer broke off"):
        fetcher.fetch(Request(f"{server.url}/feed", {}, 60.0, 3), written.append)

    assert written == []


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ("Transfer-Encoding: gzip, chunked", "Transfer-Encoding 'gzip, chunked'; only chunked can be read"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip", "Transfer-Encoding 'chunked, gzip'; only"),
        ("Content-Length: 5\r\nContent-Length: 3", "Content-Length '3, 5'; it must be one number"),
        ("Content-Length: 5x", "Content-Length '5x'; it must be one number"),
        ("Content-Length: +5", "Content-Length '+5'; it must be one number"),
        ("Content-Length: -5", "Content-Length '-5'; it must be one number"),
    ],
)
def test_an_end_that_can_be_understood_in_two_ways_is_refused(
    server: WebServer, fetcher: Fetcher, headers: str, words: str
) -> None:
    def answer(talk: Talk) -> None:
        talk.send(f"HTTP/1.1 200 OK\r\nConnection: close\r\n{headers}\r\n\r\n5\r\nhello\r\n0\r\n\r\n".encode())
        talk.cut()

    server.answers["/feed"] = answer

    assert words in str(failure(fetcher, f"{server.url}/feed"))


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Length: 5, 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Transfer-Encoding: identity\r\nContent-Length: 5",
    ],
)
def test_what_says_one_end_in_more_words_is_taken(server: WebServer, fetcher: Fetcher, headers: str) -> None:
    server.answers["/feed"] = lambda talk: talk.send(f"HTTP/1.1 200 OK\r\n{headers}\r\n\r\nhello".encode())

    assert fetch(fetcher, f"{server.url}/feed")[1] == b"hello"


def test_a_connection_is_not_kept_when_a_chunked_body_has_a_length_too(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/feed"] = lambda talk: talk.send(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    )

    for _ in range(2):
        assert fetch(fetcher, f"{server.url}/feed")[1] == b"hello"

    assert server.last("/feed").connection == 2


# Redirects


def test_redirects_are_followed_and_the_last_address_is_told(server: WebServer, fetcher: Fetcher) -> None:
    server.answers |= {"/a": redirect("/b?x=1"), "/b?x=1": redirect(f"{server.url}/c", "308 Permanent Redirect")}
    server.answers["/c"] = body(b"here")

    answer, data = fetch(fetcher, f"{server.url}/a")

    assert (data, answer.url) == (b"here", f"{server.url}/c")
    assert {asked.connection for asked in server.asked} == {1}


def test_a_redirect_to_an_address_that_is_too_long_is_refused(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/a"] = redirect("/b?" + "?key" * 8000)

    assert str(failure(fetcher, f"{server.url}/a")) == (
        "a redirect to an address of 32003 bytes; at most 8192 are followed"
    )


def test_a_circle_of_redirects_ends(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/a"] = redirect("/a")

    assert str(failure(fetcher, f"{server.url}/a")) == "more than 5 redirects"
    assert server.count("/a") == 6


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x", "data:text/plain,x"])
def test_a_redirect_to_another_protocol_is_refused(server: WebServer, fetcher: Fetcher, to: str) -> None:
    server.answers["/a"] = redirect(to)

    assert "which is neither http nor https" in str(failure(fetcher, f"{server.url}/a"))


def test_a_redirect_that_leads_nowhere_is_refused(server: WebServer, fetcher: Fetcher) -> None:
    server.answers |= {"/a": status("302 Found"), "/b": redirect("http://:80/x"), "/c": redirect("http://[::1")}

    assert str(failure(fetcher, f"{server.url}/a")) == "HTTP 302 without a Location"
    for path in ("/b", "/c"):
        assert failure(fetcher, f"{server.url}{path}").status == 302


def test_the_headers_of_a_feed_go_to_its_own_server_only(server: WebServer, fetcher: Fetcher) -> None:
    server.answers |= {"/a": redirect(f"http://other.public.example:{server.port}/b"), "/b": body(b"x")}
    server.answers["/own"] = redirect("/b")
    secret = {"x-api-key": "secret"}

    fetch(fetcher, f"http://me:pw@one.public.example:{server.port}/a", headers=secret)

    assert server.last("/a").headers["x-api-key"] == "secret"
    assert not {"x-api-key", "authorization"} & server.last("/b").headers.keys()
    fetch(fetcher, f"http://one.public.example:{server.port}/own", headers=secret)
    assert server.last("/b").headers["x-api-key"] == "secret"


def test_secrets_do_not_go_to_another_port_of_the_host(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/b"] = body(b"x")
    with WebServer() as home:
        home.answers["/a"] = redirect(f"{server.url}/b")

        fetch(fetcher, f"http://me:pw@127.0.0.1:{home.port}/a", headers={"x-api-key": "secret"})

    assert not {"x-api-key", "authorization"} & server.last("/b").headers.keys()


def test_secrets_go_on_from_http_to_https_and_never_back(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("safe.example").configure_cert(context)
    server.answers |= {"/up": redirect("https://safe.example/end"), "/end": body(b"open")}
    with WebServer(tls=context) as safe, authority.cert_pem.tempfile() as file:
        monkeypatch.setenv("SSL_CERT_FILE", os.fspath(file))
        safe.answers |= {"/down": redirect("http://safe.example/end"), "/end": body(b"safe")}
        ports = {80: server.port, 443: safe.port}
        fetcher = Fetcher("tests/1", Connections(lambda _, port: system_resolve("127.0.0.1", ports[port])))
        secret = {"x-api-key": "secret"}

        up = fetch(fetcher, "http://safe.example/up", headers=secret)[1]
        down = fetch(fetcher, "https://safe.example/down", headers=secret)[1]

        fetcher.connections.close()
        assert (up, down) == (b"safe", b"open")
        assert safe.last("/end").headers["x-api-key"] == "secret"
    assert "x-api-key" not in server.last("/end").headers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_a_redirect_from_a_public_to_a_private_address_is_refused(
    server: WebServer, fetcher: Fetcher, host: str
) -> None:
    server.answers |= {"/a": redirect(f"http://{host}:{server.port}/secret"), "/secret": body(b"secret")}

    failed = failure(fetcher, f"http://one.public.example:{server.port}/a")

    assert "is not a public address; allow_private = yes would follow" in str(failed)
    assert server.count("/secret") == 0


def test_it_is_refused_after_further_redirects_too(server: WebServer) -> None:
    where = {"one.public.example": True, "two.public.example": True, "inside.example": False}
    fetcher = Fetcher(
        "tests/1", Connections(lambda host, _: [Address(socket.AF_INET, ("127.0.0.1", server.port), where[host])])
    )
    server.answers |= {
        "/public": redirect("http://two.public.example/more"), "/more": redirect("http://inside.example/secret"),
        "/inside": redirect("http://one.public.example/more"), "/secret": body(b"secret"),
    }  # fmt: skip

    for begin in ("http://one.public.example/public", "http://inside.example/inside"):
        assert "is not a public address" in str(failure(fetcher, begin))

    fetcher.connections.close()
    assert server.count("/secret") == 0


def test_it_is_refused_over_a_kept_connection_too(server: WebServer, fetcher: Fetcher) -> None:
    server.answers |= {"/a": redirect(f"{server.url}/secret"), "/secret": body(b"secret")}
    fetch(fetcher, f"{server.url}/secret")

    failure(fetcher, f"http://one.public.example:{server.port}/a")

    assert server.count("/secret") == 1


def test_it_is_followed_when_the_feed_allows_it(server: WebServer, fetcher: Fetcher) -> None:
    server.answers |= {"/a": redirect(f"{server.url}/b"), "/b": body(b"inside")}

    assert fetch(fetcher, f"http://one.public.example:{server.port}/a", allow_private=True)[1] == b"inside"


def test_a_feed_on_a_private_address_needs_no_permission(server: WebServer, fetcher: Fetcher) -> None:
    server.answers |= {"/a": redirect(f"http://localhost:{server.port}/b"), "/b": body(b"inside")}

    assert fetch(fetcher, f"{server.url}/a")[1] == b"inside"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2a00:1450:4001:800::200e", True), ("10.1.2.3", False), ("192.168.0.1", False),
        ("127.0.0.1", False), ("169.254.169.254", False), ("0.0.0.0", False), ("100.64.0.1", False), ("::1", False),
        ("fe80::1%eth0", False), ("fd00::1", False), ("::ffff:127.0.0.1", False), ("::ffff:8.8.8.8", True),
        ("224.0.0.1", False), ("255.255.255.255", False), ("64:ff9b::7f00:1", False), ("64:ff9b::808:808", True),
        ("64:ff9b:1::808:808", False), ("2002:7f00:1::", False), ("2002:808:808::1", True), ("fec0::1", False),
        ("::127.0.0.1", False), ("::ffff:0:7f00:1", False), ("::ffff:0:808:808", True), ("::", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False), ("ff0e::1", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


# Odd addresses


def test_a_query_with_spaces_and_letters_is_encoded_and_codes_are_left(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/f%20e/%C3%A9?q=a%20b&r=%2F"] = body(b"x")

    assert fetch(fetcher, f"{server.url}/f e/é?q=a b&r=%2F#part")[1] == b"x"


def test_no_line_can_be_smuggled_into_the_request(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/a"] = lambda talk: talk.answer(b"", "302 Found", Location="/b%0d%0aX: y")
    server.answers["/b%0d%0aX:%20y"] = body(b"x")

    assert fetch(fetcher, f"{server.url}/a")[1] == b"x"
    assert "x" not in server.last("/b%0d%0aX:%20y").headers


def test_a_stopping_process_does_not_wait_for_a_server(server: WebServer) -> None:
    stopping = threading.Event()
    fetcher = Fetcher("tests/1", Connections(stopping=stopping.is_set))
    server.answers["/feed"] = lambda talk: (stopping.set(), talk.hang())

    with pytest.raises(Stopping):
        fetch(fetcher, f"{server.url}/feed", timeout_s=3600.0)


def test_it_does_not_wait_for_a_handshake_either() -> None:
    stopping = threading.Event()

    def take_the_hello() -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(1)
            stopping.set()
            ended.wait(120)

    ended = threading.Event()
    fetcher = Fetcher("tests/1", Connections(stopping=stopping.is_set))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = threading.Thread(target=take_the_hello)
        served.start()

        with pytest.raises(Stopping):
            fetch(fetcher, f"https://127.0.0.1:{listener.getsockname()[1]}/", timeout_s=3600.0)

        ended.set()
        served.join()


def test_it_does_not_wait_for_a_connection_either() -> None:
    looks = iter([False, True])
    fetcher = Fetcher("tests/1", Connections(stopping=lambda: next(looks)))
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        for _ in range(4):  # nobody accepts them, so that another gets no answer
            sock = waiting.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        assert not select.select([], [sock], [], 0)[1]

        with pytest.raises(Stopping):
            fetch(fetcher, f"http://127.0.0.1:{full.getsockname()[1]}/", timeout_s=3600.0)


def test_https_is_checked(tmp_path_factory: pytest.TempPathFactory) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        served = threading.Thread(target=_serve_tls, args=(listener, context))
        served.start()
        fetcher = Fetcher("tests/1")

        failed = failure(fetcher, f"https://127.0.0.1:{port}/")

        served.join()
    assert "certificate" in str(failed)


def test_https_with_a_known_authority_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener, authority.cert_pem.tempfile() as file:
        port = listener.getsockname()[1]
        monkeypatch.setenv("SSL_CERT_FILE", os.fspath(file))
        served = threading.Thread(target=_serve_tls, args=(listener, context))
        served.start()
        fetcher = Fetcher("tests/1")

        _, data = fetch(fetcher, f"https://127.0.0.1:{port}/")

        fetcher.connections.close()
        served.join()
    assert data == b"safe"


def _serve_tls(listener: socket.socket, context: ssl.SSLContext) -> None:
    sock, _ = listener.accept()
    try:
        with context.wrap_socket(sock, server_side=True) as safe:
            safe.recv(1000)
            safe.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsafe")
            safe.recv(1)
    except OSError:
        sock.close()  # the other side did not trust us
