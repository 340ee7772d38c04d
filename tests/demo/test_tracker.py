"""The tracker takes what IRUS takes, names what is wrong, and fails by its seed."""

import http.client
import json
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TextIO
from urllib.parse import urlencode

import pytest

import aggregator.demo.tracker
from aggregator.demo.tracker import Tracker, faults, main
from tests.demo.programs import demo
from tests.processes import lines_of
from tests.servers import wait_until

GOOD = {
    "url_ver": "Z39.88-2004",
    "url_tim": "2010-10-17T03:04:42Z",
    "rft_dat": "Request",
    "req_id": "192.0.2.7",
    "req_dat": "Mozilla/5.0 (X11)",
    "rft.artnum": "oai:ora.ox.ac.uk:uuid:1",
    "svc_dat": "https://ora.ox.ac.uk/objects/uuid:1",
    "rfr_dat": "",
    "rfr_id": "ora.ox.ac.uk",
}
GOOD_QUERY = urlencode(GOOD)


@contextmanager
def serving(
    *, slow: float = 0.0, fail: float = 0.0, seed: int = 1, record: TextIO | None = None
) -> Iterator[tuple[Tracker, http.client.HTTPConnection]]:
    """Serve in this process, with a connection to it."""
    with Tracker(0, slow=slow, fail=fail, rng=random.Random(seed), record=record) as tracker:
        thread = threading.Thread(target=tracker.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", tracker.server_port, timeout=60)
        try:
            yield tracker, connection
        finally:
            connection.close()
            tracker.shutdown()
            thread.join()


def get(connection: http.client.HTTPConnection, path: str) -> tuple[int, str, str | None]:
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read().decode(), response.getheader("Retry-After")


# --- the check of a ping ---


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"rft_dat": "Investigation"},
        {"req_id": "2001:db8::1"},
        {"req_dat": ""},
        {"rft_id": "info:doi/10.1234/abc"},
        {"url_tim": "2024-02-29T23:59:59Z"},
    ],
)
def test_a_good_ping_has_no_faults(change: dict[str, str]) -> None:
    assert faults(urlencode(GOOD | change)) == []


@pytest.mark.parametrize("key", list(GOOD))
def test_a_missing_key_is_named(key: str) -> None:
    assert faults(urlencode({name: text for name, text in GOOD.items() if name != key})) == [f"{key}: missing"]


@pytest.mark.parametrize("key", [key for key in GOOD if key not in ("req_dat", "rfr_dat")])
def test_an_empty_key_is_named(key: str) -> None:
    assert faults(urlencode(GOOD | {key: ""})) == [f"{key}: empty"]


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("url_ver", "Z39.88", "Z39.88-2004"),
        ("url_tim", "2010-10-17 03:04:42", "a UTC time as 2010-10-17T03:04:42Z"),
        ("url_tim", "2010-10-17T03:04:42+01:00", "a UTC time as 2010-10-17T03:04:42Z"),
        ("url_tim", "2010-02-30T03:04:42Z", "a UTC time as 2010-10-17T03:04:42Z"),
        ("rft_dat", "request", "Request or Investigation"),
        ("req_id", "urn:ip:192.0.2.7", "a bare IP address (urn:ip: is release 4)"),
        ("req_id", "192.0.2.777", "a bare IP address (urn:ip: is release 4)"),
    ],
)
def test_a_wrong_value_is_named(key: str, value: str, wanted: str) -> None:
    assert faults(urlencode(GOOD | {key: value})) == [f"{key}: needs {wanted} (found {value!r})"]


def test_a_key_that_comes_twice_is_named() -> None:
    assert faults(f"{GOOD_QUERY}&req_id=192.0.2.8") == ["req_id: given 2 times"]


def test_all_faults_are_listed() -> None:
    assert faults("url_ver=1&rft_dat=2&req_id=&svc_dat=x&rfr_id=y&rft.artnum=z") == [
        "url_tim: missing",
        "req_id: empty",
        "req_dat: missing",
        "rfr_dat: missing",
        "url_ver: needs Z39.88-2004 (found '1')",
        "rft_dat: needs Request or Investigation (found '2')",
    ]


@pytest.mark.parametrize("query", ["nonsense", "a=%ff", "&".join(f"k{n}=1" for n in range(51))])
def test_a_query_that_cannot_be_read_is_one_fault(query: str) -> None:
    assert [fault.partition(":")[0] for fault in faults(query)] == ["query"]


# --- answers ---


def test_pings_are_answered_on_one_connection_and_counted() -> None:
    with serving() as (_, connection):
        assert get(connection, f"/counter/?{GOOD_QUERY}") == (200, "OK\n", None)
        port = connection.sock.getsockname()[1]
        assert get(connection, "/counter/?url_ver=1")[0] == 400
        assert get(connection, f"/counter/test/?{GOOD_QUERY}")[0] == 200
        status, stats, _ = get(connection, "/stats")

        assert connection.sock.getsockname()[1] == port
    assert (status, json.loads(stats)) == (
        200,
        {"accepted": 2, "faulty": 1, "unavailable": 0, "slow": 0, "refused_connections": 0},
    )


def test_a_bad_ping_is_told_its_faults() -> None:
    with serving() as (_, connection):
        status, text, _ = get(connection, "/counter/?" + urlencode(GOOD | {"req_id": "nobody", "rfr_id": ""}))

    assert status == 400
    assert text.splitlines() == [
        "rfr_id: empty",
        "req_id: needs a bare IP address (urn:ip: is release 4) (found 'nobody')",
    ]


def test_only_get_is_answered() -> None:
    with serving() as (_, connection):
        connection.request("POST", f"/counter/?{GOOD_QUERY}")
        response = connection.getresponse()
        response.read()

    assert response.status == 501


def moods(seed: int) -> list[tuple[bool, int | None, float]]:
    with Tracker(0, slow=0.2, fail=0.3, rng=random.Random(seed)) as tracker:
        drawn = [tracker.next_mood() for _ in range(2000)]
    return [(mood.unavailable, mood.retry_after_s, mood.delay_s) for mood in drawn]


def test_the_seed_decides_which_pings_fail_and_which_are_slow() -> None:
    first = moods(7)

    assert moods(7) == first
    assert moods(8) != first
    assert sum(unavailable for unavailable, _, _ in first) == pytest.approx(600, abs=80)
    assert sum(delay_s > 0 for _, _, delay_s in first) == pytest.approx(400, abs=70)
    assert all(1 <= delay_s <= 2 for unavailable, _, delay_s in first if delay_s)
    assert {retry_after_s for unavailable, retry_after_s, _ in first if unavailable} == {None, 1, 2, 3}
    assert not any(unavailable and delay_s for unavailable, _, delay_s in first)
    assert not any(retry_after_s for unavailable, retry_after_s, _ in first if not unavailable)


def test_an_unavailable_tracker_answers_503_and_now_and_then_says_for_how_long(tmp_path: Path) -> None:
    file = tmp_path / "accepted"
    with file.open("w", buffering=1) as record, serving(fail=1.0, record=record) as (tracker, connection):
        answers = [get(connection, f"/counter/?{GOOD_QUERY}") for _ in range(20)]

        assert tracker.stats()["unavailable"] == 20
    assert {status for status, _, _ in answers} == {503}
    assert {retry_after for _, _, retry_after in answers} == {None, "1", "2", "3"}
    assert file.read_text() == ""


def test_a_slow_answer_comes_after_a_second_or_two() -> None:
    with serving(slow=1.0) as (tracker, connection):
        asked_at = time.monotonic()
        status, _, _ = get(connection, f"/counter/?{GOOD_QUERY}")

        # no upper bound: the machine may stand still; the moods above say how long it is at most
        assert time.monotonic() - asked_at >= 1
        assert (status, tracker.stats()["slow"], tracker.stats()["accepted"]) == (200, 1, 1)


def test_a_slow_answer_delays_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, asked_both = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        slow.set()
        assert asked_both.wait(120)

    monkeypatch.setattr(aggregator.demo.tracker, "time", SimpleNamespace(sleep=sleep))
    with serving(slow=1.0) as (_, connection):
        connection.request("GET", f"/counter/?{GOOD_QUERY}")
        assert slow.wait(60)
        other = http.client.HTTPConnection("127.0.0.1", connection.port, timeout=60)
        # the slow answer comes no sooner than this one
        assert get(other, "/stats")[0] == 200
        other.close()
        asked_both.set()

        assert connection.getresponse().read() == b"OK\n"


def test_a_client_that_hangs_up_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(slow=1.0) as (tracker, connection):
        with socket.create_connection(("127.0.0.1", connection.port)) as hasty:
            hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            hasty.sendall(f"GET /counter/?{GOOD_QUERY} HTTP/1.1\r\n\r\n".encode())
            wait_until(lambda: tracker.stats()["slow"] == 1)
        wait_until(lambda: tracker.stats()["accepted"] == 1)

        assert get(connection, "/stats")[0] == 200
    assert capsys.readouterr().err == ""


def test_connections_above_the_bound_are_closed_and_counted() -> None:
    with serving() as (tracker, connection):
        others = [socket.create_connection(("127.0.0.1", connection.port)) for _ in range(70)]
        wait_until(lambda: tracker.stats()["refused_connections"] == 6)
        for other in others:
            other.close()

        wait_until(lambda: answers(connection))
        assert tracker.stats()["refused_connections"] >= 6


def answers(connection: http.client.HTTPConnection) -> bool:
    try:
        return get(connection, "/stats")[0] == 200
    except OSError:
        connection.close()
        return False


# --- as a process ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_exit_code_0_and_every_accepted_ping_recorded(
    tmp_path: Path, number: signal.Signals
) -> None:
    file = tmp_path / "new" / "accepted"
    with demo("tracker", "--port", "0", "--slow", "0", "--fail", "0", "--record", str(file)) as process:
        port = int(lines_of(process).readline().strip().rstrip("/").rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for service in ("a", "b", "c"):
            assert get(connection, "/counter/?" + urlencode(GOOD | {"rfr_id": service}))[0] == 200
        assert get(connection, "/counter/?url_ver=1")[0] == 400
        recorded = file.read_text().splitlines()
        # The connection stays open, as a worker's does.
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
        connection.close()

    assert recorded == [urlencode(GOOD | {"rfr_id": service}) for service in ("a", "b", "c")]
    assert (process.returncode, errors) == (0, "")
    assert output.splitlines()[-1] == "stopped accepted=3 faulty=1 unavailable=0 slow=0 refused_connections=0"


def test_a_signal_does_not_wait_for_a_slow_answer() -> None:
    with demo("tracker", "--port", "0", "--slow", "1", "--fail", "0") as process:
        port = int(lines_of(process).readline().strip().rstrip("/").rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", f"/counter/?{GOOD_QUERY}")
        process.terminate()
        process.communicate(timeout=60)
        connection.close()

    assert process.returncode == 0


def test_a_record_is_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "accepted"
    file.write_text("earlier\n")
    with demo("tracker", "--port", "0", "--slow", "0", "--fail", "0", "--record", str(file)) as process:
        port = int(lines_of(process).readline().strip().rstrip("/").rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        get(connection, f"/counter/?{GOOD_QUERY}")
        connection.close()

    assert file.read_text() == f"earlier\n{GOOD_QUERY}\n"


def test_a_port_that_is_taken_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with demo("tracker", "--port", str(port)) as process:
            _, errors = process.communicate(timeout=60)

    assert process.returncode == 1
    assert errors == f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another --port\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--port"),
        (["--port", "70000"], "needs a port from 0 to 65535 (found '70000')"),
        (["--port", "0", "--slow", "2"], "needs a share from 0 to 1 (found '2')"),
        (["--port", "0", "--fail", "-1"], "needs a share from 0 to 1 (found '-1')"),
        (["--port", "0", "--seed", "x"], "invalid int value"),
    ],
)
def test_bad_usage_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)

    assert message in capsys.readouterr().err
