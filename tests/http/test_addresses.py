"""Which addresses are in the open Internet, and how a host with several of them is reached."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from aggregator.http.addresses import Address, is_public, names_a_private_place
from aggregator.http.connections import Connections
from aggregator.http.urls import Refused, origin_of
from tests.feeds.webserver import WebServer, body, redirect
from tests.http.asking import client, get


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("192.0.0.192", False), ("192.0.0.9", False), ("168.63.129.16", False), ("168.63.129.17", True),
        ("100.100.100.200", False), ("192.88.99.1", False), ("198.18.0.1", False), ("240.0.0.1", False),
        ("192.0.2.1", False), ("198.51.100.1", False), ("203.0.113.1", False), ("172.31.255.255", False),
        ("172.32.0.1", True), ("::ffff:168.63.129.16", False), ("64:ff9b::a83f:8110", False),
        ("64:ff9b::c000:c0", False), ("2002:a83f:8110::", False), ("2001:db8::1", False), ("3fff::1", False),
        ("5f00::1", False), ("100::1", False), ("4000::1", False), ("fe80::a9fe:a9fe%1", False),
        ("2a00:1450::5efe:7f00:1", False), ("2a00:1450::200:5efe:a00:1", False), ("2a00:1450::5efe:808:808", True),
        ("fd00:ec2::254", False), ("2606:4700::1111", True),
    ],
)  # fmt: skip
def test_special_networks_are_not_public_whatever_the_version_of_python_knows(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize("host", ["feed.example", "8.8.8.8", "134744072", "[2606:4700::1111]", "local", "127.example"])
def test_what_does_not_look_private_is_left_to_the_proxy(host: str) -> None:
    assert not names_a_private_place(host.strip("[]"))


def test_a_server_of_ipv6_is_asked_and_named_in_brackets() -> None:
    with WebServer("::1") as server, client() as asking:
        server.answers |= {"/a": redirect(f"{server.url}/feed"), "/feed": body(b"here")}

        assert get(asking, f"{server.url}/a") == (200, b"here")

        assert server.last("/feed").headers["host"] == f"[::1]:{server.port}"


def test_the_zone_of_an_address_is_used_and_told_to_nobody() -> None:
    origin = origin_of("http://[fe80::1%25eth0]:8080/feed")

    assert (origin.host, origin.header) == ("fe80::1%eth0", "[fe80::1]:8080")


@pytest.mark.parametrize("host", ["[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[::1]", "[fe80::1%25lo]"])
def test_a_redirect_to_an_address_of_ipv6_that_leads_here_is_refused(host: str) -> None:
    from aggregator.http.addresses import resolve

    with WebServer() as server:
        server.answers["/a"] = redirect(f"http://{host}:{server.port}/secret")
        here = Address(socket.AF_INET, ("127.0.0.1", server.port), True)
        connections = Connections(lambda name, port: [here] if name == "feed.example" else resolve(name, port))
        with client(connections=connections) as asking, pytest.raises(Refused, match="is not a public address"):
            get(asking, "http://feed.example/a")


def test_an_address_that_swallows_everything_holds_up_the_next_only_shortly() -> None:
    with WebServer() as server, socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        for _ in range(4):  # nobody accepts them, so that another gets no answer
            sock = waiting.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        server.answers["/feed"] = body(b"here")
        addresses = [
            Address(socket.AF_INET, full.getsockname(), True),
            Address(socket.AF_INET6, ("::1", 1), True),  # nobody listens there
            Address(socket.AF_INET, ("127.0.0.1", server.port), True),
        ]
        # without a deadline of its own, it would be waited for until the system gives up, some two minutes
        with client(connections=Connections(lambda host, port: addresses)) as asking:
            assert get(asking, "http://feed.example/feed", deadline_s=None, idle_s=60.0) == (200, b"here")


def test_the_last_of_the_reasons_is_told_when_no_address_answers() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = Address(socket.AF_INET, bound.getsockname(), True)
        connections = Connections(lambda host, port: [address, address])
        with client(connections=connections) as asking, pytest.raises(OSError, match="Connection refused"):
            get(asking, "http://feed.example/feed")
