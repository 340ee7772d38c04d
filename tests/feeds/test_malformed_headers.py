"""A malformed line among the headers hides none of the others: the body is right, or there is none."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from aggregator.feeds.fetching.fetch import Answer, Failed, Fetcher, Request
from tests.feeds.webserver import Talk, WebServer, body

NOISE = (
    b"X Powered By: y",
    b"no colon at all",
    b": no name",
    b"X-Broken\xff: y",
    b"X-Nul: a\0b",
    b"X-Bare: a\rb",
    b"X-Line: a\x85b\x0b\x0c\x1c",
    b"X-Folded: a\r\n  b\r\n\tc",
    b"HTTP/1.1 200 OK",
    b"X-Space : y",
    b"=" * 5000,
)
HEADERS = (b'ETag: "1"', b"Server: s")
CHUNKED = b"2\r\n{}\r\n0\r\n\r\n"
# without a time of packing, which would be in the names of tests and make them differ between processes
PACKED = gzip.compress(b"{}", mtime=0)


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    fetcher = Fetcher("tests/1")
    yield fetcher
    fetcher.connections.close()


def answer_with(server: WebServer, head: list[bytes], data: bytes, line: bytes = b"200 OK") -> None:
    def talk(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 " + line + b"\r\n" + b"".join(header + b"\r\n" for header in head) + b"\r\n" + data)
        if not any(header.lower().startswith((b"content-length", b"transfer-encoding")) for header in head):
            talk.cut()

    server.answers["/feed"] = talk


def fetch(server: WebServer, fetcher: Fetcher) -> tuple[Answer, bytes]:
    pieces: list[bytes] = []
    answer = fetcher.fetch(Request(f"{server.url}/feed", {}, 60.0, 10_000_000), pieces.append)
    return answer, b"".join(pieces)


def failure(server: WebServer, fetcher: Fetcher) -> Failed:
    with pytest.raises(Failed) as raised:
        fetch(server, fetcher)
    return raised.value


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    ("framing", "data"),
    [
        (b"Transfer-Encoding: chunked", CHUNKED),
        (b"Content-Length: 2", b"{}"),
        (b"Content-Encoding: gzip\r\nContent-Length: %d" % len(PACKED), PACKED),
    ],
)
def test_noise_anywhere_hides_no_header(
    server: WebServer, fetcher: Fetcher, noise: bytes, place: int, framing: bytes, data: bytes
) -> None:
    head = [*HEADERS[:1], framing]
    head.insert(place, noise)
    answer_with(server, head, data)

    answer, pieces = fetch(server, fetcher)

    assert pieces == b"{}"
    assert answer.headers["etag"] == '"1"'


def test_a_line_that_goes_on_with_nothing_hides_no_header(server: WebServer, fetcher: Fetcher) -> None:
    answer_with(server, [b"  folded onto nothing", *HEADERS, b"Content-Length: 2"], b"{}")

    answer, pieces = fetch(server, fetcher)

    assert (pieces, answer.headers["etag"]) == (b"{}", '"1"')


@pytest.mark.parametrize("noise", NOISE)
def test_behind_noise_a_redirect_and_a_wish_to_rest_are_heard(
    server: WebServer, fetcher: Fetcher, noise: bytes
) -> None:
    server.answers["/there"] = body(b"here")
    answer_with(server, [noise, b"Location: /there", b"Content-Length: 0"], b"", b"302 Found")
    assert fetch(server, fetcher)[1] == b"here"

    answer_with(server, [noise, b"Retry-After: 30", b"Content-Length: 0"], b"", b"503 Away")
    assert failure(server, fetcher).retry_after_s == 30


@pytest.mark.parametrize("noise", NOISE)
def test_noise_in_a_promise_or_behind_the_last_chunk_does_no_harm(
    server: WebServer, fetcher: Fetcher, noise: bytes
) -> None:
    promise = b"HTTP/1.1 103 Early Hints\r\n" + noise + b"\r\nLink: </x>\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    whole = promise + head + CHUNKED.removesuffix(b"\r\n") + noise + b"\r\n\r\n"
    server.answers["/feed"] = lambda talk: talk.send(whole)

    assert [fetch(server, fetcher)[1] for _ in range(2)] == [b"{}", b"{}"]


@pytest.mark.parametrize(
    "line",
    [
        b"X-A: b\rTransfer-Encoding: chunked",
        b"Transfer-\0Encoding: chunked",
        b"Transfer Encoding: chunked",
        b"Transfer-Encoding chunked",
        b"Transfer-Encoding\xa0: chunked",
        b" Transfer-Encoding: chunked",
        b"X-A: b\r\n Transfer-Encoding: chunked",
        b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding: chun\0ked",
        b"Content-Length: 2\r\n 0",
        b"Content Length: 2",
        b"Content-Encoding\x0b: gzip",
        b" ",
        b"\r",
    ],
)
def test_a_line_that_may_say_where_the_body_ends_or_not_is_refused(
    server: WebServer, fetcher: Fetcher, line: bytes
) -> None:
    answer_with(server, [*HEADERS, line, b"Connection: close"], CHUNKED)

    assert str(failure(server, fetcher)).startswith(("a header", "a malformed header", "a folded header", "a line of"))


def test_without_an_end_a_line_that_may_belong_to_the_body_is_refused(server: WebServer, fetcher: Fetcher) -> None:
    answer_with(server, [b"Content-Type: text/csv", b"a,b,c", b"1,2,3"], b"4,5,6")
    assert "may belong to the body (found 'a,b,c')" in str(failure(server, fetcher))

    answer_with(server, [b"X Powered By: y"], b"4,5,6")
    assert fetch(server, fetcher)[1] == b"4,5,6"


def test_an_answer_that_breaks_off_in_its_headers_is_refused(server: WebServer, fetcher: Fetcher) -> None:
    server.answers["/feed"] = lambda talk: (talk.send(b"HTTP/1.1 200 OK\r\nServer: s\r\nContent-Le"), talk.cut())

    assert str(failure(server, fetcher)) == "the answer broke off in its headers"


def test_two_addresses_to_go_to_are_refused(server: WebServer, fetcher: Fetcher) -> None:
    answer_with(server, [b"Location: /a", b"Location: /b", b"Content-Length: 0"], b"", b"302 Found")

    assert str(failure(server, fetcher)) == "HTTP 302 with 2 different Locations"


def test_two_ways_of_packing_are_not_taken_for_one(server: WebServer, fetcher: Fetcher) -> None:
    length = b"Content-Length: %d" % len(PACKED)
    answer_with(server, [b"Content-Encoding: gzip", b"Content-Encoding: identity", length], PACKED)
    assert fetch(server, fetcher)[1] == b"{}"

    answer_with(server, [b"Content-Encoding: gzip", b"Content-Encoding: br", length], PACKED)
    assert "packed as 'gzip, br'" in str(failure(server, fetcher))


def test_more_than_a_hundred_headers_are_taken(server: WebServer, fetcher: Fetcher) -> None:
    answer_with(server, [*(b"X-%d: y" % n for n in range(1000)), b"Content-Length: 2"], b"{}")

    assert fetch(server, fetcher)[1] == b"{}"


@pytest.mark.parametrize("end", [b"XX", b"\n\n", b"\rX", b"\n"])
def test_a_chunk_that_is_longer_than_it_says_is_refused(server: WebServer, fetcher: Fetcher, end: bytes) -> None:
    answer_with(server, [b"Transfer-Encoding: chunked", b"Connection: close"], b"2\r\n{}" + end + b"0\r\n\r\n")

    assert str(failure(server, fetcher)) == "a chunk that does not end where it should"
