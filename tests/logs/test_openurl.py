from __future__ import annotations

import importlib
import json
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest
import trustme

from aggregator.config.parsing import parse_settings
from aggregator.errors import ConfigError, Reject, Retry, Unavailable
from aggregator.logs.openurl import OpenUrl, mask, query_of
from aggregator.runtime.contract import Drop, Outcome, Send
from aggregator.runtime.message import History, Message
from tests.feeds.webserver import WebServer, body
from tests.http.asking import Authority
from tests.http.proxyserver import ProxyServer
from tests.logs.driving import make
from tests.logs.trackers import Connection, in_turn, status, tracker
from tests.servers import free_port, wait_until
from tests.settling import settled

PLUGIN = """
import json
OPTIONS = {"site": "the site's address"}
def parseline(jmsg):
    line = json.loads(jmsg)["logline"]
    if line == "boom":
        raise RuntimeError("the plugin fails")
    return {"line": line} if line else None
def get_openurl_params(c, worker_section, pl):
    if pl["line"].startswith("GET /page"):
        return {}
    return {"url_ver": "Z39.88-2004", "req_id": "192.0.2.7", "rft.artnum": pl["line"],
        "rfr_id": c.get(worker_section, "rfr_id"), "none": None}
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[str]:
    name = f"plugin_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(PLUGIN)
    yield name
    sys.modules.pop(name, None)
    if str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


def message(line: str = "a/b ü?&=") -> Message:
    raw = b'{"service":"web", "logline":%s}' % json.dumps(line).encode()
    return Message(raw, raw)


@pytest.fixture
def opened(tmp_path: Path, plugin: str) -> Iterator[Callable[..., OpenUrl]]:
    stages: list[OpenUrl] = []

    def start(url: str, **options: Any) -> OpenUrl:
        stage = make(OpenUrl, tmp_path, repository_plugin=plugin, endpoint_url=url, listento="lines", **options)
        config = RawConfigParser()
        config.read_dict({"worker_test": {"rfr_id": "repository.example.org"}})
        stage.context.config_parser = lambda: config
        stage.start()
        stages.append(stage)
        return stage

    yield start
    for stage in stages:
        stage.stop()


def handle(stage: OpenUrl, line: str = "a/b ü?&=") -> list[Outcome]:
    return list(stage.handle(message(line)))


def test_an_eligible_message_is_sent_with_the_parameters_in_the_order_of_the_plugin(opened: Any) -> None:
    with tracker(status(200)) as server:
        assert handle(opened(server.url)) == []
        assert server.params == [
            [
                ("url_ver", "Z39.88-2004"),
                ("req_id", "192.0.2.7"),
                ("rft.artnum", "a/b ü?&="),
                ("rfr_id", "repository.example.org"),
            ]
        ]


def test_what_was_sent_goes_on_unchanged_to_the_success_queue(opened: Any) -> None:
    with tracker(status(200)) as server:
        assert handle(opened(server.url, success_queue="sent")) == [Send("sent", message().raw)]


@pytest.mark.parametrize("line", ["", "GET /page"])
def test_what_is_not_eligible_goes_to_the_other_queue_without_a_request(opened: Any, line: str) -> None:
    with tracker(status(200)) as server:
        assert handle(opened(server.url, other_queue="rest"), line) == [Send("rest", message(line).raw)]
        assert handle(opened(server.url), line) == [Drop("not_eligible")]
        assert server.targets == []


def test_a_query_in_the_endpoint_address_is_kept(opened: Any) -> None:
    with tracker(status(200)) as server:
        handle(opened(f"{server.url}?key=1"))
        assert server.params[0][0] == ("key", "1")


def test_what_is_no_json_object_is_rejected(opened: Any) -> None:
    stage = opened("http://127.0.0.1:1/")
    with pytest.raises(Reject, match="not a JSON object"):
        list(stage.handle(Message(b"[1]", b"[1]")))


def test_an_exception_of_the_plugin_is_not_ours_to_catch(opened: Any) -> None:
    with pytest.raises(RuntimeError, match="the plugin fails"):
        handle(opened("http://127.0.0.1:1/"), "boom")


def test_connections_are_kept_alive(opened: Any) -> None:
    with tracker(status(200)) as server:
        stage = opened(server.url)
        for _ in range(5):
            handle(stage)
        assert (len(server.targets), server.connections) == (5, 1)


def test_a_kept_connection_that_the_server_closed_is_opened_anew_without_a_failure(opened: Any) -> None:
    def answer_and_close(connection: Connection) -> None:
        connection.answer(200)
        connection.close_after = True

    with tracker(answer_and_close) as server:
        stage = opened(server.url)
        for _ in range(5):
            assert handle(stage) == []
        assert (len(server.targets), server.connections) == (5, 5)


def endless_headers(connection: Connection) -> None:
    connection.wfile.write(b"HTTP/1.1 200 X\r\n")
    connection.dribble(b"a: b\r\n" * 100)


@pytest.mark.parametrize(
    ("answering", "reason"),
    [
        (status(400, b"req_id: missing\n"), r"HTTP 400: req_id: missing"),
        (status(302, b"", "Location: https://new.example.org/"), r"HTTP 302 to https://new.example.org/, which is not"),
        (status(204, b""), r"HTTP 204"),
        (status(500), r"HTTP 500"),
        (lambda connection: connection.wfile.write(b"no http\r\n\r\n"), r"BadStatusLine"),
        (lambda connection: setattr(connection, "close_after", True), r"RemoteDisconnected"),
        (Connection.stall, r"no answer in time"),
        (lambda connection: connection.dribble(b"H"), r"no answer in time"),
        (endless_headers, r"headers of more than \d+ bytes or \d+ lines"),
    ],
)
def test_a_failure_is_retried_with_its_reason(opened: Any, answering: Any, reason: str) -> None:
    # short where it must pass, and else long enough for a machine that stops for some seconds
    timeout = "500ms" if reason == "no answer in time" else "60s"
    with tracker(answering) as server, pytest.raises(Retry, match=reason):
        handle(opened(server.url, timeout=timeout))


def test_a_tracker_that_is_not_there_is_a_failure(opened: Any) -> None:
    with pytest.raises(Retry, match="Connection refused"):
        handle(opened(f"http://127.0.0.1:{free_port()}/"))


@pytest.mark.parametrize(
    "answering",
    [
        lambda connection: (connection.wfile.write(b"HTTP/1.1 200 X\r\n\r\n"), connection.dribble(b"x" * 60_000)),
        lambda connection: connection.answer(200, b"x" * 10_000_000),
        lambda connection: connection.wfile.write(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"),
    ],
)
def test_the_status_decides_whatever_the_body_is(opened: Any, answering: Any) -> None:
    with tracker(answering) as server:
        stage = opened(server.url)
        assert handle(stage) == handle(stage) == []
        assert server.connections == 2


def test_a_certificate_nobody_vouches_for_is_refused(opened: Any) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with tracker(status(200), context) as server:
        with pytest.raises(Retry, match=r"TLS: .*; ca_file can name the authority"):
            handle(opened(server.url))
        assert server.targets == []


def test_a_certificate_of_a_known_authority_is_accepted(opened: Any, tmp_path: Path, monkeypatch: Any) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with tracker(status(200), context) as server:
        stage = opened(server.url)
        assert handle(stage) == handle(stage) == []
        assert (len(server.targets), server.connections) == (2, 1)


def test_retry_after_is_the_delay_of_the_retry(opened: Any) -> None:
    with tracker(status(503, b"", "Retry-After: 7")) as server, pytest.raises(Retry) as caught:
        handle(opened(server.url))
    assert caught.value.delay_s == 7.0


def test_the_same_message_is_sent_as_the_same_bytes_again(opened: Any) -> None:
    with tracker(in_turn(status(503), status(200))) as server:
        stage = opened(server.url)
        with pytest.raises(Retry):
            handle(stage)
        handle(stage)
        handle(opened(server.url))
        assert len(set(server.targets)) == 1


class Clock:
    """A clock that goes on when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_three_failures_in_a_row_open_the_circuit_and_a_success_closes_it(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracker(in_turn(status(503), status(503), status(503), status(503), status(200))) as server:
        stage = opened(server.url, pauseonfail="1h")
        clock = Clock()
        monkeypatch.setattr(stage._breaker, "_clock", clock)
        notes = stage.context.notes
        assert notes["breaker"] == "closed"
        for _ in range(2):
            with pytest.raises(Retry):
                handle(stage)
        with pytest.raises(Unavailable) as opening:
            handle(stage)
        assert opening.value.pause_s == 3600
        assert notes["breaker"].startswith("open since")
        with pytest.raises(Unavailable):  # without a request
            handle(stage)
        assert len(server.targets) == 3

        clock.now += 3600
        with pytest.raises(Unavailable):
            handle(stage)
        assert len(server.targets) == 4
        assert notes["breaker"].startswith("open since"), "the request that tried has failed"
        clock.now += 3600
        handle(stage)
        assert len(server.targets) == 5
        assert notes["breaker"] == "closed"


def test_a_message_that_may_be_the_trouble_goes_behind_the_others_and_counts_until_the_circuit_opens(
    opened: Any,
) -> None:
    with tracker(status(500)) as server:
        stage = opened(server.url, pauseonfail="1h")
        counted = []
        for _ in range(3):
            with pytest.raises(Retry) as retry:
                handle(stage)
            counted.append(retry.value.counts)
        assert counted == [True, True, False]
        with pytest.raises(Unavailable):
            handle(stage)
        assert len(server.targets) == 3


def test_what_was_sent_is_sent_again_as_it_was_whatever_the_plugin_says_by_then(opened: Any) -> None:
    with tracker(in_turn(status(503), status(503), status(503), status(200))) as server:
        stage = opened(server.url, pauseonfail="100ms")
        first = message()
        with pytest.raises(Retry) as retry:
            list(stage.handle(first))
        stage._config.set(stage.context.section, "rfr_id", "changed.example")
        again = Message(first.raw, first.raw, History(id=1, kept=retry.value.kept))

        for kind in (Retry, Unavailable):
            with pytest.raises(kind) as kept:
                list(stage.handle(again))
            assert kept.value.kept == retry.value.kept
        wait_until(lambda: sent_or_unavailable_again(stage, again))

        assert len(server.targets) == 4 and len(set(server.targets)) == 1


def sent_or_unavailable_again(stage: OpenUrl, again: Message) -> bool:
    try:
        list(stage.handle(again))
    except Unavailable:
        return False
    return True


def test_what_was_never_sent_is_asked_of_the_plugin_when_it_is(opened: Any) -> None:
    with tracker(status(503)) as server:
        stage = opened(server.url)
        for _ in range(3):
            with pytest.raises((Retry, Unavailable)):
                handle(stage)
        with pytest.raises(Unavailable) as untried:
            handle(stage)
        assert (untried.value.kept, len(server.targets)) == ("", 3)


def test_answers_about_the_request_do_not_open_the_circuit(opened: Any) -> None:
    with tracker(status(404)) as server:
        stage = opened(server.url)
        for _ in range(8):
            with pytest.raises(Retry):
                handle(stage)
        assert stage.context.notes["breaker"] == "closed"


def test_as_many_requests_are_in_flight_as_threads_call(opened: Any) -> None:
    barrier = threading.Barrier(8, timeout=60)

    def together(connection: Connection) -> None:
        barrier.wait()
        connection.answer(200)

    with tracker(together) as server, ThreadPoolExecutor(8) as pool:
        stage = opened(server.url)
        assert list(pool.map(lambda number: handle(stage, f"line {number}"), range(32))) == [[]] * 32
        assert (server.most_at_once, server.connections) == (8, 8)
        settled(stage)
        assert stage.context.counts == {"sent": 32, "status_200": 32}


def test_the_rate_is_limited_over_all_threads(opened: Any) -> None:
    with tracker(status(200)) as server, ThreadPoolExecutor(4) as pool:
        stage = opened(server.url, ratelimit=50)
        began = time.monotonic()
        list(pool.map(lambda number: handle(stage), range(20)))
        assert time.monotonic() - began >= 19 / 50
        assert len(server.targets) == 20


def test_waiting_for_the_rate_gives_way_when_the_process_is_to_stop(opened: Any) -> None:
    with tracker(status(200)) as server:
        stage = opened(server.url, ratelimit=0.001)
        handle(stage)
        stage.context.stopping = True
        with pytest.raises(Unavailable, match="stopping"):
            handle(stage)
        assert len(server.targets) == 1


def test_debug_logs_the_address_without_the_reader(opened: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with tracker(status(200)) as server:
        handle(opened(server.url, debug="yes"))
    assert "req_id=***" in caplog.text
    assert "192.0.2.7" not in caplog.text


def test_check_names_what_the_plugin_lacks_and_what_the_address_should_not_have(tmp_path: Path) -> None:
    texts = {"repository_plugin": "string", "endpoint_url": "https://me:pw@example.org:0x/#a", "listento": "q"}
    settings, faults = parse_settings(OpenUrl.Settings, texts)
    assert not faults
    found = [f"{option}: {words}" for option, words in OpenUrl.check(settings, RawConfigParser())]
    assert found == [
        "repository_plugin: string has no function parseline()",
        "repository_plugin: string has no function get_openurl_params()",
        "endpoint_url: a user name in the address is not sent; leave it out",
        "endpoint_url: what is behind # is not sent (found '#a'); leave it out",
        "endpoint_url: the port is no number from 0 to 65535",
    ]


@pytest.mark.parametrize("host", ["irus..jisc.ac.uk", "a" * 70 + ".example.org", "[::1", ":80", ""])
def test_an_address_whose_host_cannot_be_looked_up_is_refused(host: str) -> None:
    _, faults = parse_settings(
        OpenUrl.Settings, {"listento": "q", "repository_plugin": "json", "endpoint_url": f"http://{host}/counter"}
    )
    assert [fault.option for fault in faults] == ["endpoint_url"]


def test_start_refuses_a_plugin_that_cannot_be_imported(tmp_path: Path) -> None:
    stage = make(OpenUrl, tmp_path, repository_plugin="not_there", endpoint_url="http://x/", listento="q")
    with pytest.raises(ConfigError, match=r"\[worker_test\] repository_plugin: cannot import not_there"):
        stage.start()


def test_the_plugins_own_options_are_known(tmp_path: Path, plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    assert OpenUrl.plugin_options({"repository_plugin": plugin})["site"] == "the site's address"
    assert "rfr_id" in OpenUrl.plugin_options({"repository_plugin": "not_there"})


def test_values_may_be_missing_or_several() -> None:
    assert query_of({"a": None, "b": ["1", "2"], "c": "x y", "d": 3}) == "b=1&b=2&c=x+y&d=3"


def test_masking_leaves_the_rest_alone() -> None:
    assert mask("req_id=1.2.3.4&x=req_id&a=1&rfr_dat=&rfr_id=a") == "req_id=***&x=req_id&a=1&rfr_dat=***&rfr_id=a"
    assert mask("req_dat=Mozilla%2F5.0&api_key=a%20b&a") == "req_dat=***&api_key=***&a"


def repeats(connection: Connection) -> None:
    connection.answer(400, f"bad request {'.' * 160}{connection.target}".encode())


def repeats_in_a_status_that_is_none(connection: Connection) -> None:
    connection.wfile.write(f"XTTP {connection.target}\r\n\r\n".encode())


def repeats_where_it_redirects_to(connection: Connection) -> None:
    connection.answer(302, b"", "Location: http://new.example/192.0.2.7/s3cretkey/0ther1secret")


@pytest.mark.parametrize("answering", [repeats, repeats_in_a_status_that_is_none, repeats_where_it_redirects_to])
def test_no_key_and_no_reader_stands_in_the_reason_of_a_failure(opened: Any, answering: Any) -> None:
    with tracker(answering) as server:
        stage = opened(f"{server.url}/0ther1secret?token=s3cretkey")
        stage.context.written = {"endpoint_url": "http://tracker.example/%(ENV_PLACE)s?token=%(ENV_TOKEN)s"}
        stage.context.from_environment = ("0ther1secret", "s3cretkey")
        stage = OpenUrl(stage.settings, stage.context)
        stage.start()
        with pytest.raises(Retry) as raised:
            handle(stage)
        stage.stop()

    told = str(raised.value)
    assert told.startswith("http://tracker.example/%(ENV_PLACE)s?token=***: ")
    assert not any(secret in told for secret in ("192.0.2.7", "s3cretk", "0ther1s"))
    assert "***" in told.split(": ", 1)[1]


def test_check_passes_on_what_the_plugin_says_of_its_own_options() -> None:
    config = RawConfigParser()
    config.read_dict({"worker_x": {"repository_plugin": "plugins.accesslog"}, "accesslog": {"pattern": "("}})
    texts = {"listento": "a", "repository_plugin": "plugins.accesslog", "endpoint_url": "http://127.0.0.1/"}
    settings, _ = parse_settings(OpenUrl.Settings, texts)

    [(option, words)] = OpenUrl.check(settings, config)

    assert option == "repository_plugin"
    assert words.startswith("[accesslog] pattern: ")


def test_a_tracker_is_reached_through_a_proxy_in_tls_and_told_who_asks(opened: Any, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = authority.serving("tracker.example")
    context.verify_mode = ssl.CERT_REQUIRED
    authority.authority.configure_trust(context)
    authority.authority.issue_cert("me.example").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "me.pem"))
    with WebServer(tls=context) as server, ProxyServer({"tracker.example": server.port}) as proxy:
        server.answers["/counter?a=b%20c&url_ver=Z39.88-2004"] = body(b"OK")
        stage = opened(
            "https://tracker.example/counter", proxy=proxy.address, ca_file=authority.file.name, client_cert="me.pem",
            auth="bearer", token="abc",
        )  # fmt: skip
        stage._endpoint.get("a=b%20c&url_ver=Z39.88-2004")

        [asked] = server.asked
        assert (asked.headers["authorization"], asked.headers["host"]) == ("Bearer abc", "tracker.example")
        assert [passed.method for passed in proxy.passed] == ["CONNECT"]


def test_start_refuses_files_of_tls_that_are_no_use(opened: Any) -> None:
    with pytest.raises(ConfigError, match=r"\[worker_test\] client_cert: cannot be read: No such file"):
        opened("https://tracker.example/", client_cert="none.pem")


def test_check_names_options_that_contradict_one_another_and_shows_no_secret() -> None:
    texts = {"repository_plugin": "plugins.accesslog", "endpoint_url": "https://x.example/", "listento": "q"}
    texts |= {"auth": "basic", "username": "me", "token": "s3cret", "proxy": "http://me:s3cret/@x"}
    settings, _ = parse_settings(OpenUrl.Settings, texts)

    found = dict(OpenUrl.check(settings, RawConfigParser()))

    assert found.keys() == {"proxy", "password", "token"}
    assert not any("s3cret" in words for words in found.values())


def test_a_stopping_process_lets_the_tracker_answer(opened: Any) -> None:
    with tracker(status(200)) as server:
        stage = opened(server.url)
        stage.context.stopping = True
        handle(stage)
        assert (len(server.targets), stage.context.counts["sent"]) == (1, 1)
