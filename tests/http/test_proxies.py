"""Requests go through the proxy that is meant, and what a proxy is told stays with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.http.framing import Broken
from aggregator.http.proxies import Environment, parse_proxy
from aggregator.http.route import Route
from aggregator.http.urls import Origin, Refused, origin_of
from tests.feeds.webserver import WebServer, body, redirect
from tests.http.asking import Authority, client, get
from tests.http.proxyserver import ProxyServer

LOGIN = "Basic bWU6cC93"


@pytest.fixture
def server(server: WebServer) -> WebServer:
    server.answers["/feed"] = body(b"here")
    return server


@pytest.fixture
def safe(authority: Authority) -> Iterator[WebServer]:
    with WebServer(tls=authority.serving("feed.example")) as safe:
        safe.answers["/feed"] = body(b"safe")
        yield safe


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_http_is_forwarded_by_a_proxy_that_resolves_the_name_and_alone_hears_its_login(server: WebServer) -> None:
    with ProxyServer({"feed.example": server.port}, LOGIN) as proxy, client() as asking:
        route = Route(proxy=f"http://me:p%2Fw@127.0.0.1:{proxy.port}")
        for _ in range(2):
            assert get(asking, "http://feed.example/feed", route=route) == (200, b"here")

        assert proxy.passed[0].target == "http://feed.example/feed"
        assert server.last("/feed").headers["host"] == "feed.example"
        assert "proxy-authorization" not in server.last("/feed").headers


def test_https_goes_through_a_tunnel_and_its_certificate_is_the_hosts(safe: WebServer, authority: Authority) -> None:
    with ProxyServer({"feed.example": safe.port}, LOGIN) as proxy, client() as asking:
        route = authority.route(proxy=f"http://me:p%2Fw@127.0.0.1:{proxy.port}")
        for _ in range(2):
            assert get(asking, "https://feed.example/feed", route=route) == (200, b"safe")

        # the second request came over the kept tunnel
        assert [(passed.method, passed.target) for passed in proxy.passed] == [("CONNECT", "feed.example:443")]
        assert "proxy-authorization" not in safe.last("/feed").headers


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_may_be_spoken_to_in_tls(server: WebServer, safe: WebServer, authority: Authority, scheme: str) -> None:
    names = {"feed.example": safe.port if scheme == "https" else server.port}
    with ProxyServer(names, tls=authority.serving("127.0.0.1")) as proxy, client() as asking:
        for _ in range(2):
            status, data = get(asking, f"{scheme}://feed.example/feed", route=authority.route(proxy=proxy.address))

        assert (status, data) == (200, b"safe" if scheme == "https" else b"here")


def test_a_proxy_that_refuses_is_named_without_its_login(safe: WebServer, authority: Authority) -> None:
    with ProxyServer({}, LOGIN) as proxy, client() as asking:
        route = authority.route(proxy=f"http://me:wrong@127.0.0.1:{proxy.port}")
        with pytest.raises(Broken) as raised:
            get(asking, "https://feed.example/feed", route=route)

    told = f"the proxy 127.0.0.1:{proxy.port}: Tunnel connection failed: 407 Proxy Authentication Required"
    assert str(raised.value) == told


def test_a_proxy_that_is_not_there_is_named(server: WebServer) -> None:
    with ProxyServer({}) as gone:
        pass
    with client() as asking, pytest.raises(Broken, match=f"the proxy 127.0.0.1:{gone.port}: Connection refused"):
        get(asking, "http://feed.example/feed", route=Route(proxy=gone.address))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_says_nothing_is_left_at_the_deadline(scheme: str) -> None:
    with ProxyServer({}, silent=True) as proxy, client() as asking, pytest.raises(TimeoutError):
        get(asking, f"{scheme}://feed.example/feed", route=Route(proxy=proxy.address), deadline_s=0.5)


def test_the_environment_names_a_proxy_and_the_hosts_that_need_none(server: WebServer) -> None:
    with ProxyServer({"feed.example": server.port}) as proxy:
        with client(environ={"HTTP_PROXY": proxy.address, "NO_PROXY": "inside.example"}) as asking:
            assert get(asking, "http://feed.example/feed") == (200, b"here")
            assert get(asking, f"{server.url}/feed") == (200, b"here")  # this machine is asked directly
            assert len(proxy.passed) == 1
            with pytest.raises(OSError, match=r"[Nn]ame"):
                get(asking, "http://inside.example/feed")
            with pytest.raises(OSError, match=r"[Nn]ame"):
                get(asking, "http://feed.example/feed", route=Route(proxy="none"))
        assert len(proxy.passed) == 1


@pytest.mark.parametrize(
    ("no_proxy", "is_direct"),
    [
        ("", False), ("*", True), ("feed.example", True), (".example", True), ("*.example", True), ("example", True),
        ("ample", False), ("other.example", False), ("FEED.Example ", True), ("a, feed.example", True),
        ("feed.example:8080", True), ("feed.example:80", False), ("10.0.0.0/8", False), ("a feed.example b", True),
        ("a\tb,\n .example", True), (" , ", False), (".", False), ("*.", False), ("b *", True),
    ],
)  # fmt: skip
def test_entries_of_no_proxy_cover_names_and_all_below_them(no_proxy: str, is_direct: bool) -> None:
    environment = Environment({"http_proxy": "proxy.example:3128", "no_proxy": no_proxy})

    assert (environment.proxy_for(Origin("http", "feed.example", 8080)) is None) is is_direct


@pytest.mark.parametrize(
    ("no_proxy", "host", "is_direct"),
    [
        ("10.0.0.0/8", "10.1.2.3", True), ("10.0.0.0/8", "11.1.2.3", False), ("10.1.2.3", "10.1.2.3", True),
        ("fd00::/8", "fd12::1", True), ("[fd12::1]", "fd12::1", True), ("", "127.0.0.1", True), ("", "::1", True),
        ("", "localhost", True), ("10.1.2.3:80", "10.1.2.3", True), ("10.1.2.3:81", "10.1.2.3", False),
    ],
)  # fmt: skip
def test_entries_of_no_proxy_cover_networks_and_this_machine_needs_none(
    no_proxy: str, host: str, is_direct: bool
) -> None:
    environment = Environment({"HTTP_PROXY": "http://proxy.example:3128", "NO_PROXY": no_proxy})

    assert (environment.proxy_for(Origin("http", host, 80)) is None) is is_direct


@pytest.mark.parametrize(
    "no_proxy",
    ["bücher.example", ".BÜCHER.example", "*.bücher.example:80", "xn--bcher-kva.example", "a bücher.example."],
)
@pytest.mark.parametrize(
    "url", ["http://bücher.example/", "http://xn--bcher-kva.example/", "http://www.Bücher.example/"]
)
def test_names_in_letters_of_any_script_are_covered(no_proxy: str, url: str) -> None:
    environment = Environment({"http_proxy": "http://proxy.example:3128", "no_proxy": no_proxy})

    assert environment.proxy_for(origin_of(url)) is None
    assert environment.proxy_for(origin_of("http://buecher.example/")) is not None


def test_what_is_no_name_in_any_script_covers_nothing() -> None:
    environment = Environment({"http_proxy": "http://proxy.example:3128", "no_proxy": f"{'ä' * 70}.example, ä..b"})

    assert environment.proxy_for(origin_of("http://feed.example/")) is not None


def test_each_scheme_has_a_proxy_of_its_own_and_all_proxy_stands_in() -> None:
    environment = Environment({"https_proxy": "http://one.example", "ALL_PROXY": "https://me:pw@two.example"})

    assert environment.proxy_for(Origin("https", "feed.example", 443)) == ("http", "one.example", 80, "")
    assert environment.proxy_for(Origin("http", "feed.example", 80)) == (
        "https", "two.example", 443, "Basic bWU6cHc=",
    )  # fmt: skip


@pytest.mark.parametrize("text", ["socks5://x:1", "http://", "http://x:y", "http://x/path", "http://me:p/w@x", "::"])
def test_what_is_no_proxy_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"it is no address such as|are not spoken") as raised:
        parse_proxy(text)

    assert "p/w" not in str(raised.value)


# Where a proxy may be sent


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "localhost.", "a.localhost",
        "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[fe80::1%25eth0]",
        "192.0.0.192", "168.63.129.16", "[fd00:ec2::254]",
    ],
)  # fmt: skip
def test_a_proxy_is_not_sent_to_a_private_address_in_any_spelling(server: WebServer, host: str) -> None:
    server.answers["/a"] = redirect(f"http://{host}/secret")
    with ProxyServer({"feed.example": server.port}) as proxy, client() as asking:
        with pytest.raises(Refused, match="is not a public address; allow_private = yes would follow"):
            get(asking, "http://feed.example/a", route=Route(proxy=proxy.address))

        assert len(proxy.passed) == 1


def test_a_proxy_is_sent_there_when_that_is_allowed(server: WebServer) -> None:
    server.answers["/a"] = redirect(f"{server.url}/feed")
    with ProxyServer({"feed.example": server.port}) as proxy, client() as asking:
        route = Route(proxy=proxy.address)

        assert get(asking, "http://feed.example/a", route=route, allow_private=True) == (200, b"here")


def test_a_host_that_needs_no_proxy_is_looked_at_as_without_one(server: WebServer) -> None:
    server.answers["/a"] = redirect(f"{server.url}/feed")
    with (
        ProxyServer({"feed.example": server.port}) as proxy,
        client(environ={"http_proxy": proxy.address}) as asking,
        pytest.raises(Refused, match=r"127\.0\.0\.1 is not a public address"),
    ):
        get(asking, "http://feed.example/a")
    assert server.count("/feed") == 0
