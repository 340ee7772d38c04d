"""The demo's stream looks alive to the very reader that captures it, and is cut at its time."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from aggregator.demo.streamserver import StreamServer, main, shipped_changes
from aggregator.streams.transports.parts import Part
from aggregator.streams.transports.sse import ServerSentEvents


@contextmanager
def serving(cut_every_s: float, rate: float = 200.0) -> Iterator[StreamServer]:
    over = threading.Event()
    with StreamServer(0, shipped_changes(), rate=rate, cut_every_s=cut_every_s, stop=over.is_set) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            over.set()
            server.shutdown()
            thread.join()


def read(server: StreamServer, path: str = "/changes") -> tuple[list[dict[str, object]], bool]:
    """Return the events of one connection, and whether it was cut in the middle of one."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request("GET", path)
    reader = ServerSentEvents(1_000_000)
    parts = list(reader.feed(connection.getresponse().read()))
    connection.close()
    return [json.loads(part.data) for part in parts if isinstance(part, Part)], reader.partial


def test_a_connection_brings_changes_in_their_order_and_is_cut_in_the_middle_of_one() -> None:
    with serving(cut_every_s=0.5) as server:
        events, is_cut = read(server)

    assert len({event["meta"]["id"] for event in events}) == len(events)  # type: ignore[index]
    numbers = [event["meta"]["offset"] for event in events]  # type: ignore[index]
    assert len(numbers) > 50 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert is_cut and server.stats()["cut"] == 1


def test_what_happens_between_two_connections_is_gone() -> None:
    with serving(cut_every_s=0.2) as server:
        (first, _), (second, _) = read(server), read(server)

    assert second[0]["meta"]["offset"] > first[-1]["meta"]["offset"] + 1  # type: ignore[index]


def test_new_pages_can_be_asked_for_alone() -> None:
    with serving(cut_every_s=0.6) as server:
        events, _ = read(server, "/changes?type=new")

    assert {event["type"] for event in events} == {"new"}


def test_counts_are_told() -> None:
    with serving(cut_every_s=0.2) as server:
        events, _ = read(server)
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        connection.request("GET", "/stats")
        stats = json.loads(connection.getresponse().read())
        connection.close()

    assert (stats["connections"], stats["events"], stats["cut"]) == (1, len(events), 1)


def test_a_taken_port_and_a_rate_of_nothing_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(cut_every_s=0) as server:
        assert main(["--port", str(server.server_port)]) == 1
    with pytest.raises(SystemExit):
        main(["--port", "0", "--rate", "0"])

    told = capsys.readouterr().err
    assert "choose another --port" in told and "--rate needs a number above 0" in told
