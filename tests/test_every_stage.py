"""The contract of a stage, asserted over every stage there is. A new stage needs a sample here, or this fails."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest

from aggregator import registry
from aggregator.config.parsing import options_of, parse_settings
from aggregator.config.tables import Table
from aggregator.errors import Reject
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Send, Source
from aggregator.runtime.message import Message
from aggregator.stores.settings import StoreSettings

LINE = (
    b'{"service":"x.org","logline":"1.2.3.4 - - [17/May/2015:10:05:03 +0000] '
    b'\\"GET /articles/a HTTP/1.1\\" 200 5 \\"-\\" \\"Firefox\\""}'
)
SAMPLES: dict[str, dict[str, str]] = {
    "tail": {"logfile": "access.log", "servicename": "x.org", "pushto": "lines"},
    "broker": {"listento": "lines", "fanout": "a, b"},
    "logfile": {"listento": "a", "logfile": "a.log"},
    "download": {"pushto": "fetched@node"},
    "filter": {"listento": "fetched@node", "pushto": "published@node"},
    "compress": {"listento": "published@node", "pushto": "bundled@node"},
    "archive": {"listento": "bundled@node", "store": "here"},
    "capture": {"type": "sse", "url": "http://127.0.0.1:1/", "pushto": "events"},
    "record": {"listento": "events"},
    "match": {"listento": "captured", "pushto": "matched", "rules": "track:0"},
    "kafka": {"listento": "a", "brokers": "127.0.0.1:1", "topic": "events"},
    "kafka_in": {"brokers": "127.0.0.1:1", "topics": "events", "pushto": "a"},
    "openurl": {"listento": "b", "repository_plugin": "plugins.accesslog", "endpoint_url": "http://127.0.0.1:1/"},
}
TICK = b'{"feed":"gone","planned_ms":1800000000000}'
FAILED = (
    b'{"feed":"f","url":"http://x.org/f","period_ms":14000,"extension":"pb","timestamp":"none","format":"other",'
    b'"tick":{"planned_ms":1800000000000,"outcome":"failed","error":"HTTP 500"}}'
)
FILTERED = (
    b'{"feed":"f","url":"http://x.org/f","period_ms":14000,"node":"node","publication":"","published_ms":null,'
    b'"tick":{"planned_ms":1800000000000,"outcome":"failed","error":"HTTP 500"}}'
)
REMOVAL = b'{"remove":{"file":"data/feeds/bundles/2026-11-22/12/f.tar.zst","sha256":""}}'
GAP = b'{"kind":"gap","stream":"s","from_ms":1,"to_ms":2,"cause":"stall"}'
EVENT = b'{"kind":"event","stream":"s","received_ms":1800000000000,"event":{"id_str":"1"}}'
BODIES = {
    "archive": REMOVAL,
    "broker": LINE,
    "compress": FILTERED,
    "download": TICK,
    "filter": FAILED,
    "kafka": EVENT,
    "logfile": LINE,
    "match": GAP,
    "openurl": LINE,
    "record": EVENT,
}
NAMES = registry.stage_names()
CONSUMERS = [name for name in NAMES if name in BODIES]


@pytest.fixture
def tracker() -> Iterator[str]:
    """The address of a server that answers everything with 200."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def load(name: str) -> Any:
    return registry.load_stage(name, Path.cwd())


def make(name: str, root: Path, **changed: str) -> Any:
    stage_class = load(name)
    settings, faults = parse_settings(stage_class.Settings, {**SAMPLES[name], **changed})
    assert not faults
    context = Context(section=f"worker_{name}", number=0, node="node", root=root, config_parser=_parser)
    tables = {"store": Table({"here": StoreSettings(url=f"file://{root}/here")})}
    # a change in a table that the stage does not name would not restart its workers
    context.table = {kind: tables.get(kind, Table({})) for kind in stage_class.traits.tables}.__getitem__
    return stage_class(settings, context)


def _parser() -> RawConfigParser:
    parser = RawConfigParser()
    parser.read_dict({"worker_openurl": {}, "accesslog": {"pattern": "/articles/(?P<id>\\w+)"}})
    return parser


@pytest.mark.parametrize("name", NAMES)
def test_its_docstring_tells_what_goes_in_and_out(name: str) -> None:
    text = load(name).__doc__ or ""

    blocks = re.findall(r"^ *(In|Out|Effect|Errors|Source): \S", text, re.MULTILINE)

    assert blocks == ["In", "Out", "Effect", "Errors", "Source"]
    assert re.match(r"[A-Z].*\.$", text.splitlines()[0])


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_documented_and_its_default_is_allowed(name: str) -> None:
    for option in options_of(load(name).Settings):
        assert option.doc, option.name
        if isinstance(option.default, int | float) and not option.required:
            low, high = option.bounds
            assert (low is None or option.default >= low) and (high is None or option.default <= high), option.name


@pytest.mark.parametrize("name", NAMES)
def test_its_sample_section_loads(name: str, tmp_path: Path) -> None:
    assert make(name, tmp_path).settings


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_source_or_has_a_sample_message(name: str) -> None:
    assert issubclass(load(name), Source) or name in BODIES


@pytest.mark.parametrize("name", CONSUMERS)
@pytest.mark.parametrize("raw", [b"", b"no json", b"[1]", b'"text"', b'{"unclosed": '])
def test_a_bad_body_is_rejected(name: str, raw: bytes, tmp_path: Path) -> None:
    stage = make(name, tmp_path)
    stage.start()
    try:
        with pytest.raises(Reject):
            list(stage.handle(Message(raw, raw)))
    finally:
        stage.stop()


@pytest.mark.parametrize("name", CONSUMERS)
def test_a_message_that_comes_again_after_a_crash_gives_the_same_results(
    name: str, tmp_path: Path, tracker: str
) -> None:
    changed = {"endpoint_url": tracker, "success_queue": "done"} if name == "openurl" else {}
    results = []
    for _ in range(2):
        stage = make(name, tmp_path, **changed)
        stage.start()
        outcomes = list(stage.handle(Message(BODIES[name], BODIES[name])))
        results.append(
            [(outcome.queue, outcome.body) if isinstance(outcome, Send) else outcome for outcome in outcomes]
        )
        stage.stop()

    assert results[0] == results[1]


@pytest.mark.parametrize("name", CONSUMERS)
def test_starting_and_stopping_without_a_message_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    # which, not how many: one of an earlier test's server may end meanwhile
    before = set(threading.enumerate())
    stage = make(name, tmp_path)

    stage.start()
    stage.stop()

    assert set(threading.enumerate()) <= before
