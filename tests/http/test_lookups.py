"""Names are resolved for as long as the caller may wait, in few threads, and once for all who ask."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from aggregator.feeds.fetching.fetch import Failed, Fetcher, Request
from aggregator.http.addresses import Address
from aggregator.http.client import Client
from aggregator.http.connections import Connections
from aggregator.http.deadlines import Deadline, Stopping
from aggregator.http.endpoint import Endpoint, Unanswered
from aggregator.http.lookups import MOST_THREADS, Lookups, Unresolved
from aggregator.http.route import Route
from tests.servers import wait_until

HERE = [Address(socket.AF_INET, ("127.0.0.1", 80), False)]


class Resolver:
    """Resolve names when told to."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[Address]:
        self.asked.append(host)
        assert self.answers.wait(60)
        if host == "nobody.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return HERE


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    resolver = Resolver()
    yield resolver
    resolver.answers.set()
    wait_until(lambda: not resolving())


def resolving() -> int:
    return sum(thread.name == "resolve" for thread in threading.enumerate())


@pytest.mark.parametrize("route", [Route(), Route(proxy="http://proxy.example:3128")])
def test_a_silent_name_server_is_waited_for_until_the_deadline(resolver: Resolver, route: Route) -> None:
    fetcher = Fetcher("tests/1", Connections(resolver))

    with pytest.raises(Failed, match=r"no whole answer within 0\.2 s: the host's name was not resolved until then"):
        fetcher.fetch(Request("http://feed.example/", {}, 0.2, 100, route=route), lambda piece: None)

    with pytest.raises(Unanswered, match="no answer in time: the host's name was not resolved until then"):
        Endpoint("http://feed.example/", 0.2, Client("tests/1", Connections(resolver)), route).get("a=1")


def test_a_stopping_process_does_not_wait_for_a_name_server(resolver: Resolver) -> None:
    fetcher = Fetcher("tests/1", Connections(resolver, stopping=lambda: bool(resolver.asked)))

    with pytest.raises(Stopping):
        fetcher.fetch(Request("http://feed.example/", {}, 3600.0, 100), lambda piece: None)


def test_those_who_want_one_name_share_a_lookup(resolver: Resolver) -> None:
    lookups = Lookups(resolver)

    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(lookups.resolve, "feed.example", 80, Deadline(60.0)) for _ in range(8)]
        wait_until(lambda: bool(lookups._known) and lookups._known["feed.example", 80].waiting == 8)
        resolver.answers.set()
        assert [future.result() for future in found] == [HERE] * 8

    assert resolver.asked == ["feed.example"]
    assert lookups.resolve("feed.example", 80, Deadline(60.0)) == HERE
    assert resolver.asked == ["feed.example"] * 2


def test_an_error_is_raised_in_all_who_wait_for_it(resolver: Resolver) -> None:
    resolver.answers.set()

    with pytest.raises(socket.gaierror, match="not known"):
        Lookups(resolver).resolve("nobody.example", 80, Deadline(60.0))


def test_threads_are_few_and_a_name_that_nobody_waits_for_is_not_resolved(resolver: Resolver) -> None:
    lookups = Lookups(resolver)
    names = [f"{number}.example" for number in range(MOST_THREADS + 10)]

    with ThreadPoolExecutor(len(names)) as pool:
        for future in [pool.submit(lookups.resolve, name, 80, Deadline(0.2)) for name in names]:
            with pytest.raises(Unresolved):
                future.result()
    assert resolving() == len(resolver.asked) == MOST_THREADS

    resolver.answers.set()
    wait_until(lambda: not resolving())
    assert len(resolver.asked) == MOST_THREADS
    assert lookups.resolve(names[-1], 80, Deadline(60.0)) == HERE


def test_addresses_are_not_looked_up_in_threads() -> None:
    def resolve(host: str, port: int) -> list[Address]:
        assert threading.current_thread().name != "resolve"
        return HERE

    for host in ("127.0.0.1", "::1", "fe80::1%lo"):
        assert Lookups(resolve).resolve(host, 80, Deadline(60.0)) == HERE


ENDS = """
import threading
from aggregator.http.deadlines import Deadline
from aggregator.http.lookups import Lookups, Unresolved
try:
    Lookups(lambda host, port: threading.Event().wait()).resolve("feed.example", 80, Deadline(0.1))
except Unresolved:
    print("ended")
"""


def test_a_thread_that_still_resolves_does_not_hold_up_the_end_of_the_process() -> None:
    ran = subprocess.run([sys.executable, "-c", ENDS], check=True, capture_output=True, text=True, timeout=60)

    assert ran.stdout == "ended\n"
