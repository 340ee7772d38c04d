"""Cookies live as long as one request, and stay with whom they are for."""

from __future__ import annotations

import pytest

from aggregator.http.connections import Connections
from aggregator.http.cookies import LONGEST, MOST, Cookies
from aggregator.http.urls import Origin
from tests.feeds.webserver import Talk, WebServer, body, status
from tests.http.asking import client, get, on_all_names

HERE = Origin("https", "www.agency.example", 443)


def until_it_comes_back(talk: Talk) -> None:
    """Set a cookie and send the client to where it came from, until it brings the cookie along."""
    if talk.asked.headers.get("cookie") == "seen=1":
        talk.answer(b"here")
    else:
        talk.answer(b"", "302 Found", Set_Cookie="seen=1; Path=/; HttpOnly", Location=talk.asked.path)


def test_a_redirect_that_sets_a_cookie_and_leads_to_itself_is_followed(server: WebServer) -> None:
    server.answers["/feed"] = until_it_comes_back

    with client() as asking:
        assert get(asking, f"{server.url}/feed") == (200, b"here")
        # the next request begins without it
        assert get(asking, f"{server.url}/feed") == (200, b"here")

    assert server.count("/feed") == 4


def test_a_cookie_goes_beside_the_feeds_own_and_not_to_another_host(server: WebServer) -> None:
    server.answers |= {
        "/a": status("302 Found", Set_Cookie="seen=1", Location="/b"),
        "/b": status("302 Found", Location=f"http://other.example:{server.port}/c"),
        "/c": body(b"here"),
    }

    with client(connections=Connections(on_all_names(server))) as asking:
        get(asking, f"http://feed.example:{server.port}/a", headers={"cookie": "own=2"})

    assert server.last("/a").headers["cookie"] == "own=2"
    assert server.last("/b").headers["cookie"] == "own=2; seen=1"
    assert "cookie" not in server.last("/c").headers


@pytest.mark.parametrize(
    ("line", "origin", "path", "sent"),
    [
        ("a=1", HERE, "/x/z", "a=1"),
        ("a=1", HERE, "/xy", ""),
        ("a=1", HERE._replace(host="agency.example"), "/x/z", ""),
        ("a=1; Domain=agency.example", HERE._replace(host="api.agency.example"), "/x/z", "a=1"),
        ("a=1; Domain=.agency.example", HERE._replace(host="agency.example"), "/x/z", "a=1"),
        ("a=1; Domain=agency.example", HERE._replace(host="myagency.example"), "/x/z", ""),
        ("a=1; Domain=other.example", HERE._replace(host="other.example"), "/x/z", ""),
        ("a=1; Domain=example", HERE, "/x/z", ""),
        ("a=1; Path=/", HERE, "/", "a=1"),
        ("a=1; Path=/x/y", HERE, "/x/yz", ""),
        ("a=1; Secure", HERE._replace(scheme="http"), "/x/z", ""),
        ("a=1; Secure", HERE, "/x/z", "a=1"),
        ("a=1; Max-Age=0", HERE, "/x/z", ""),
        ("a=1; Max-Age=-5", HERE, "/x/z", ""),
        ("=1", HERE, "/x/z", ""),
        ("nothing", HERE, "/x/z", ""),
        ("a=1\x07", HERE, "/x/z", ""),
        ("a=" + "1" * LONGEST, HERE, "/x/z", ""),
    ],
)
def test_whom_a_cookie_is_for(line: str, origin: Origin, path: str, sent: str) -> None:
    jar = Cookies()

    jar.take([line], HERE, "/x/y")

    assert jar.header(origin, path) == sent


def test_a_cookie_may_be_changed_and_taken_back_and_the_narrowest_path_comes_first() -> None:
    jar = Cookies()
    jar.take(["a=1; Path=/", "b=2; Path=/x", "a=3; Path=/"], HERE, "/x/y")
    assert jar.header(HERE, "/x") == "b=2; a=3"

    jar.take(["a=; Path=/; Max-Age=0"], HERE, "/")
    assert jar.header(HERE, "/x") == "b=2"


def test_an_address_sets_cookies_for_itself_alone() -> None:
    jar = Cookies()
    jar.take(["a=1; Domain=0.0.1", "b=2"], Origin("http", "127.0.0.1", 80), "/")
    assert jar.header(Origin("http", "127.0.0.1", 80), "/") == "b=2"


def test_a_jar_has_a_bound() -> None:
    jar = Cookies()
    jar.take([f"n{number}=1" for number in range(MOST + 10)], HERE, "/")
    assert jar.header(HERE, "/").count("=") == MOST
