"""Bodies as servers in use pack them, and the bounds of what is made to cost much."""

from __future__ import annotations

import gzip
import zlib

import brotli
import pytest
import zstandard

from aggregator.http.client import Client
from aggregator.http.framing import Broken
from aggregator.http.packings import PIECE
from aggregator.http.request import Request
from tests.feeds.captures import subway_captures
from tests.feeds.webserver import Talk, WebServer, body

CAPTURE = subway_captures()[0][1]
ALL = ("gzip", "deflate", "zstd", "br")


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
    "br": brotli.compress,
}


def read(
    asking: Client, server: WebServer, *, max_size: int = 10_000_000, keep_gzip: bool = False, offered: object = ALL
) -> tuple[bytes, set[str]]:
    """Return the body of `/feed`, and what was odd about it."""
    with asking.open(Request(f"{server.url}/feed", 60.0, encodings=offered)) as exchange:  # type: ignore[arg-type]
        found = exchange.body(max_size, keep_gzip=keep_gzip)
        pieces = list(found)
        assert max(map(len, pieces), default=0) <= PIECE
        return b"".join(pieces), found.notes


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("data", [b"x", CAPTURE, b"a" * 1_000_000], ids=["short", "capture", "long"])
def test_what_is_offered_is_unpacked_and_the_connection_kept(
    server: WebServer, asking: Client, name: str, data: bytes
) -> None:
    server.answers["/feed"] = body(PACKED[name](data), Content_Encoding=name)

    for _ in range(2):
        assert read(asking, server) == (data, set())

    assert server.last("/feed").headers["accept-encoding"] == "gzip, deflate, zstd, br"
    assert server.last("/feed").connection == 1


@pytest.mark.parametrize("name", ["zstd", "br"])
def test_what_was_not_offered_is_refused(server: WebServer, asking: Client, name: str) -> None:
    server.answers["/feed"] = body(PACKED[name](CAPTURE), Content_Encoding=name)

    with pytest.raises(Broken, match=f"packed as '{name}', which nobody asked for"):
        read(asking, server, offered=("gzip",))


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("cut", [1, 5, 1000])
def test_what_is_cut_is_refused(server: WebServer, asking: Client, name: str, cut: int) -> None:
    server.answers["/feed"] = body(PACKED[name](CAPTURE)[:-cut], Content_Encoding=name)

    with pytest.raises(Broken, match="the packed body has no end"):
        read(asking, server)


@pytest.mark.parametrize("name", PACKED)
def test_what_is_not_packed_so_is_refused(server: WebServer, asking: Client, name: str) -> None:
    server.answers["/feed"] = body(b"\x07" + CAPTURE[::-1], Content_Encoding=name)

    with pytest.raises(Broken, match=r"not packed as its headers say|the packed body has no end"):
        read(asking, server)


@pytest.mark.parametrize("name", PACKED)
def test_a_bomb_of_any_make_is_left_at_max_size(server: WebServer, asking: Client, name: str) -> None:
    server.answers["/feed"] = body(PACKED[name](bytes(64 << 20)), Content_Encoding=name)
    came: list[int] = []

    with asking.open(Request(f"{server.url}/feed", 60.0, encodings=ALL)) as exchange, pytest.raises(Broken) as raised:
        came += [len(piece) for piece in exchange.body(1_000_000)]

    assert str(raised.value) == "larger than max_size (more than 1000000 bytes)"


def test_a_bomb_of_deflate_without_header_is_left_too(server: WebServer, asking: Client) -> None:
    server.answers["/feed"] = body(raw_deflate(bytes(64 << 20)), Content_Encoding="deflate")

    with pytest.raises(Broken, match="larger than max_size"):
        read(asking, server, max_size=1_000_000)


def test_a_window_of_zstd_that_asks_for_much_memory_is_refused(server: WebServer, asking: Client) -> None:
    wide = zstandard.ZstdCompressionParameters(window_log=27, strategy=1)
    packer = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    server.answers["/feed"] = body(packer.compress(CAPTURE) + packer.flush(), Content_Encoding="zstd")

    with pytest.raises(Broken, match="not packed as its headers say"):
        read(asking, server)


# What no specification allows


@pytest.mark.parametrize("name", ["UTF-8", "aws-chunked", "none", "binary", "text/plain, utf-8"])
def test_an_encoding_that_names_no_packing_is_taken_for_none_and_noted(
    server: WebServer, asking: Client, name: str
) -> None:
    server.answers["/feed"] = body(CAPTURE, Content_Encoding=name)

    assert read(asking, server) == (CAPTURE, {"encoding_unknown"})


def test_beside_it_a_packing_still_counts(server: WebServer, asking: Client) -> None:
    server.answers["/feed"] = body(gzip.compress(CAPTURE), Content_Encoding="gzip, aws-chunked")

    assert read(asking, server) == (CAPTURE, {"encoding_unknown"})


@pytest.mark.parametrize("behind", [b"\r\n", b"\n", b"<!-- cached -->", b"\0\0junk", b"\x1f\x8c\x08", b"x" * 200_000])
@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd"])
def test_bytes_behind_the_end_are_noted(server: WebServer, asking: Client, name: str, behind: bytes) -> None:
    server.answers["/feed"] = body(PACKED[name](CAPTURE) + behind, Content_Encoding=name)

    for _ in range(2):
        assert read(asking, server) == (CAPTURE, {"bytes_behind_packing"})
    assert server.last("/feed").connection == 1


def test_bytes_behind_the_end_are_bounded(server: WebServer, asking: Client) -> None:
    def endless(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"x"))
        while True:
            talk.send(b"junk" * 10_000)

    server.answers["/feed"] = endless

    with pytest.raises(Broken, match="larger than max_size"):
        read(asking, server, max_size=1_000_000)


@pytest.mark.parametrize("begun", [b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x08", gzip.compress(b"more", mtime=0)[:-1]])
def test_a_further_member_that_is_cut_is_no_bytes_behind_the_end(
    server: WebServer, asking: Client, begun: bytes
) -> None:
    server.answers["/feed"] = body(gzip.compress(CAPTURE) + begun, Content_Encoding="gzip")

    with pytest.raises(Broken, match="the packed body has no end"):
        read(asking, server)


def test_deflate_without_its_header_is_unpacked_and_noted(server: WebServer, asking: Client) -> None:
    server.answers["/feed"] = body(raw_deflate(CAPTURE), Content_Encoding="deflate")

    assert read(asking, server) == (CAPTURE, {"deflate_without_header"})


def test_deflate_that_comes_byte_by_byte_is_told_apart_too(server: WebServer, asking: Client) -> None:
    def slowly(talk: Talk) -> None:
        data = raw_deflate(b"some words")
        talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: deflate\r\n\r\n")
        for byte in data:
            talk.send(b"1\r\n%c\r\n" % byte)
        talk.send(b"0\r\n\r\n")

    server.answers["/feed"] = slowly

    with asking.open(Request(f"{server.url}/feed", 60.0)) as exchange:
        assert b"".join(exchange.body(None)) == b"some words"


# The gzip file is wanted


@pytest.mark.parametrize("headers", [{}, {"Content_Encoding": "gzip"}, {"Content_Encoding": "x-gzip"}])
def test_a_gzip_file_that_is_wanted_stays_one_whatever_the_headers_say(
    server: WebServer, asking: Client, headers: dict[str, str]
) -> None:
    file = gzip.compress(CAPTURE)
    server.answers["/feed"] = body(file, **headers)

    assert read(asking, server, keep_gzip=True) == (file, set())


def test_one_that_is_packed_once_more_for_the_way_is_unpacked_once(server: WebServer, asking: Client) -> None:
    file = gzip.compress(CAPTURE)
    server.answers["/feed"] = body(gzip.compress(file), Content_Encoding="gzip")

    assert read(asking, server, keep_gzip=True) == (file, set())


# Framing


@pytest.mark.parametrize("headers", ["Transfer-Encoding: chunked\r\n" * 2, "Transfer-Encoding: chunked, chunked\r\n"])
def test_chunked_that_is_said_twice_is_decoded_once(server: WebServer, asking: Client, headers: str) -> None:
    answer = f"HTTP/1.1 200 OK\r\n{headers}\r\n5\r\nhello\r\n0\r\n\r\n".encode()
    server.answers["/feed"] = lambda talk: talk.send(answer)

    assert read(asking, server) == (b"hello", set())


def test_more_than_a_hundred_headers_are_taken(server: WebServer, asking: Client) -> None:
    head = b"".join(b"X-%d: y\r\n" % number for number in range(120))
    server.answers["/feed"] = lambda talk: talk.send(b"HTTP/1.1 200 OK\r\n" + head + b"Content-Length: 1\r\n\r\nx")

    assert read(asking, server) == (b"x", set())
