"""No secret of a stream stands in anything that it writes, whatever the platform repeats."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from aggregator.config.parsing import parse_settings
from aggregator.streams.platforms.asking import filters_of, shown_option
from aggregator.streams.settings import StreamSettings
from tests.feeds.webserver import Talk, WebServer
from tests.instance import Instance
from tests.servers import wait_until
from tests.streams.capturing import Captured
from tests.streams.eventserver import event_server
from tests.streams.ssedouble import TOKEN
from tests.streams.test_kills import gaps
from tests.streams.twitterdouble import BEARER, OAUTH, Double, chunks

SECRETS = {"PASS": "pass-word-0123", "KEY": "api-key-456789", "TOKEN": "query+token/78901"}
CONFIGURATION = """
[stream_s]
type = sse
url = http://me:%(ENV_PASS)s@HOST/stream?api_key=%(ENV_KEY)s&topic=a
parameters = lang=de&access_token=%(ENV_TOKEN)s
pushto = events

[worker_record]
stage = record
listento = events
save_interval = 2s
"""


class Repeating:
    """A server that repeats whatever it was asked with: it refuses, breaks off after an event, and answers nonsense."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, talk: Talk) -> None:
        said = f"{talk.asked.path} {talk.asked.headers['authorization']}"
        self.asked += 1
        if self.asked == 1:
            talk.answer(said.encode(), "503 Service Unavailable", Retry_After="0")
        elif self.asked in (2, 4):
            talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n13\r\nretry: 1\ndata: {}\n\n\r\n")
            talk.send(f"{said}\r\n".encode())
            talk.cut()
        elif self.asked == 3:
            talk.send(f"{said}\r\n\r\n".encode())
            talk.cut()
        else:
            talk.answer(said.encode(), "401 Unauthorized")


def test_no_file_and_no_command_shows_a_secret_that_came_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    with WebServer() as server:
        server.answer_all = Repeating()
        with Instance(CONFIGURATION.replace("HOST", server.url.partition("://")[2])) as instance:
            instance.start()
            wait_until(lambda: "credential_refused" in instance.cli("health").stdout, 60, "the refusal is a finding")
            folder = instance.root / "data/streams/s"
            wait_until(lambda: gaps(instance.root), 60, "a gap")
            wait_until(lambda: [*folder.rglob("*.gz.json")], 60, "a sidecar")
            shown = [instance.cli(*each).stdout for each in (["health"], ["status"], ["streams", "list"])]
            shown += [instance.cli("streams", "show", "s").stdout, str(instance.worker("stream_s_0"))]
            instance.stop()
            [sidecar] = folder.rglob("*.gz.json")
            connection = json.loads(sidecar.read_text())["connections"][0]
            written = [path.read_bytes() for path in instance.root.rglob("*") if path.is_file()]

    login = base64.b64encode(f"me:{SECRETS['PASS']}".encode()).decode()
    assert connection["url"].endswith("/stream?api_key=***&topic=a&lang=de&access_token=***")
    assert connection["filters"] == {"parameters": "lang=de&access_token=***"}
    for secret in (*SECRETS.values(), "query%2Btoken%2F78901", login):
        assert not [text for text in shown if secret in text]
        assert not [data[:300] for data in written if secret.encode() in data]


def test_a_refusal_that_repeats_the_parameters_of_a_body_shows_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def repeat(talk: Talk) -> None:
        talk.answer(b"you said " + talk.asked.body, "503 x")

    options: dict[str, Any] = {"endpoint": "filter", "track": "a", "parameters": "api_key=0123-456-789"}
    with (
        Double(repeat) as double,
        Captured(tmp_path, OAUTH, type="twitter_v1", url=double.v1, **options) as captured,
    ):
        captured.until(lambda: captured.of_kind("connection"))

    assert "HTTP 503" in caplog.text and "you said" in caplog.text
    for text in (caplog.text, json.dumps(captured.messages)):
        assert "0123-456-789" not in text


def test_a_farewell_that_repeats_the_token_shows_no_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = f"gone is {BEARER.bearer_token}"
    farewell = chunks([json.dumps({"errors": [{"title": words}]}).encode() + b"\r\n"])
    with Double(farewell) as double, Captured(tmp_path, BEARER, type="x_v2", url=double.v2) as captured:
        captured.until(captured.has_gaps)

    assert captured.gaps[0]["detail"] == "gone is ***"
    assert str(BEARER.bearer_token) not in caplog.text + str(captured.context.notes)


def test_a_fault_that_nobody_foresaw_is_logged_without_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(f"cannot take {TOKEN.token}")

    monkeypatch.setattr("aggregator.streams.reader.Reader._connected", fail)
    with event_server() as url, Captured(tmp_path, TOKEN, type="mastodon", url=url) as captured:
        captured.until(lambda: "RuntimeError" in captured.context.notes.get("connection", ""))

    assert "Traceback" in caplog.text and "cannot take ***" in caplog.text
    assert str(TOKEN.token) not in caplog.text + str(captured.context.notes)


def settings(**options: str) -> StreamSettings:
    found, faults = parse_settings(StreamSettings, {"type": "sse", "url": "https://h/", "pushto": "q", **options})
    assert found is not None and not faults
    return found


def test_what_a_section_asks_for_keeps_the_names_of_its_secrets_and_all_that_is_none() -> None:
    asked = settings(parameters="keyword=a&author=b&my_secret=c&d=e", track="token=f")

    assert filters_of(asked) == {"track": "token=f", "parameters": "keyword=a&author=b&my_secret=***&d=e"}
    assert shown_option("proxy", "http://me:pw@p:1/") == "http://p:1/"
    assert shown_option("url", "http://[") == "***"
