"""The stage `kafka` against librdkafka's mock cluster: what is delivered, held, refused, and in which order."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aggregator.config.parsing import parse_settings
from aggregator.errors import ConfigError, Reject, Unavailable
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Failed
from aggregator.runtime.message import Message
from aggregator.streams.kafka import Kafka
from tests.servers import wait_until
from tests.streams.brokers import INVALID_RECORD, PRODUCE, TOO_LARGE, TOPIC_FORBIDDEN, MockCluster, read_all


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    with MockCluster() as cluster:
        cluster.create("events", 4)
        cluster.create("one")
        yield cluster


class Producing:
    """The stage, driven as its worker drives it."""

    def __init__(self, root: Path, cluster: MockCluster, **options: str) -> None:
        settings, faults = parse_settings(
            Kafka.Settings, {"listento": "in", "brokers": cluster.address, "topic": "one", "timeout": "2s", **options}
        )
        assert not faults, faults
        assert not list(Kafka.check(settings, Context(section="w", number=0, node="n", root=root).config_parser()))
        self.context = Context(section="worker_kafka", number=0, node="here", root=root)
        self.stage = Kafka(settings, self.context)
        self.stage.start()

    def handle(self, *raws: bytes) -> None:
        for raw in raws:
            assert list(self.stage.handle(Message(raw, raw))) == []

    def settle(self) -> list[tuple[bytes, str]]:
        outcomes = list(self.stage.settle(0.0))
        assert all(isinstance(each, Failed) and isinstance(each.error, Reject) for each in outcomes)
        return [(each.message.raw, str(each.error)) for each in outcomes if isinstance(each, Failed)]

    def settle_at_last(self) -> list[tuple[bytes, str]]:
        """Settle as often as it takes."""
        refused: list[tuple[bytes, str]] = []

        def settles() -> bool:
            try:
                refused.extend(self.settle())
            except Unavailable:
                return False
            return True

        wait_until(settles, 60)
        return refused

    def __enter__(self) -> Producing:
        return self

    def __exit__(self, *_: object) -> None:
        self.stage.stop()


def event(number: int, **more: Any) -> bytes:
    told = {"id_str": str(number), "user": {"id_str": str(number % 5)}, **more}
    envelope = {"kind": "event", "stream": "sample", "received_ms": 1_800_000_000_000 + number, "event": told}
    return json.dumps(envelope, separators=(",", ":")).encode()


def numbers(cluster: MockCluster, topic: str, count: int) -> list[int]:
    return [int(json.loads(record.value() or b"")["id_str"]) for record in read_all(cluster.address, topic, count)]


def test_an_event_becomes_a_record_with_its_own_bytes_key_and_headers(tmp_path: Path, cluster: MockCluster) -> None:
    raw = b'{"kind":"event","stream":"s1","received_ms":1800000000000,"event":{"id_str": "7",  "e":1.0,' + (
        b'"traptor":{"collection_rules":[{"rule_id":"12"},{"rule_id":"13"}]}},"type":"update","id":"\xc3\xa9"}'
    )
    with Producing(tmp_path, cluster, topic="ev.{stream}", key="rule") as producing:
        producing.handle(raw)
        assert producing.settle() == []
        counts = producing.context.counts

    [record] = read_all(cluster.address, "ev.s1", 1)
    assert record.value() == raw.partition(b'"event":')[2].partition(b',"type"')[0]
    assert record.key() == b"12" and record.timestamp()[1] == 1800000000000
    assert record.headers() == [
        ("stream", b"s1"),
        ("rules", b"12,13"),
        ("node", b"here"),
        ("type", b"update"),
        ("id", b"\xc3\xa9"),
        ("received_ms", b"1800000000000"),
    ]
    assert counts["delivered"] == 1 and counts["bytes"] == len(record.value())


def test_any_other_object_is_the_value_as_a_whole(tmp_path: Path, cluster: MockCluster) -> None:
    raw = b'{"service":"x.org", "logline":"GET"}'
    with Producing(tmp_path, cluster, key="service") as producing:
        producing.handle(raw)
        producing.settle()

    [record] = read_all(cluster.address, "one", 1)
    assert record.value() == raw and record.key() == b"x.org" and record.headers() == [("node", b"here")]


def test_an_event_that_is_no_json_is_its_text(tmp_path: Path, cluster: MockCluster) -> None:
    with Producing(tmp_path, cluster, key="id") as producing:
        producing.handle(b'{"kind":"event","stream":"s","received_ms":1,"event":null,"text":"h\\u00e9","id":"9"}')
        producing.settle()

    [record] = read_all(cluster.address, "one", 1)
    assert (record.value(), record.key()) == ("h\u00e9".encode(), b"9")


@pytest.mark.parametrize(
    ("options", "raw"),
    [
        ({"topic": "{lang}"}, event(1)),
        ({"topic": "{type}"}, event(1)),
        ({"topic": "{name}"}, b'{"name":"../a"}'),
        ({"topic": "{name}"}, b'{"name":".."}'),
        ({}, b'{"kind":"event","stream":"no name!"}'),
    ],
)
def test_a_message_that_is_none_or_has_no_topic_is_rejected(
    tmp_path: Path, cluster: MockCluster, options: dict[str, str], raw: bytes
) -> None:
    with Producing(tmp_path, cluster, **options) as producing, pytest.raises(Reject):
        producing.handle(raw)


def test_messages_of_a_key_stay_together_and_in_order(tmp_path: Path, cluster: MockCluster) -> None:
    with Producing(tmp_path, cluster, topic="events", key="user.id_str") as producing:
        for first in range(0, 500, 100):
            producing.handle(*(event(number) for number in range(first, first + 100)))
            assert producing.settle() == []

    records = read_all(cluster.address, "events", 500)
    assert len({record.partition() for record in records}) > 1
    for key in range(5):
        its = [record for record in records if record.key() == str(key).encode()]
        assert len({record.partition() for record in its}) == 1
        assert [int(json.loads(record.value() or b"")["id_str"]) for record in its] == list(range(key, 500, 5))


def test_while_the_cluster_is_away_the_batch_is_held_and_reported_then_delivered_once(
    tmp_path: Path, cluster: MockCluster
) -> None:
    with Producing(tmp_path, cluster, timeout="300ms") as producing:
        producing.handle(event(0))
        producing.settle_at_last()
        cluster.down()
        producing.handle(*map(event, range(1, 50)))
        for _ in range(2):
            with pytest.raises(Unavailable):
                producing.settle()
        assert [code for code, _ in producing.context.reports] == ["kafka_away"]
        assert producing.context.notes["librdkafka"]

        cluster.up()

        assert producing.settle_at_last() == []
        assert not producing.context.reports
    assert numbers(cluster, "one", 50) == list(range(50))


def test_over_connections_that_break_in_mid_flow_nothing_is_lost_and_nothing_overtakes(
    tmp_path: Path, cluster: MockCluster
) -> None:
    with Producing(tmp_path, cluster, topic="events", key="user.id_str", timeout="1s") as producing:
        for first in range(0, 600, 100):
            producing.handle(*(event(number) for number in range(first, first + 100)))
            cluster.down()
            cluster.up()
            assert producing.settle_at_last() == []

    records = read_all(cluster.address, "events", 600)
    for key in range(5):
        its = [int(json.loads(record.value() or b"")["id_str"]) for record in records if record.key() == b"%d" % key]
        # the mock cluster does not know a repetition by its sequence, as brokers do
        assert list(dict.fromkeys(its)) == list(range(key, 600, 5))


def test_a_message_that_is_too_large_for_the_broker_is_refused_alone_and_nothing_overtakes(
    tmp_path: Path, cluster: MockCluster
) -> None:
    with Producing(tmp_path, cluster, options="linger.ms=500") as producing:
        # the request of all ten is refused, and then that of the fourth alone
        cluster.fail(PRODUCE, TOO_LARGE, 0, 0, 0, TOO_LARGE)
        producing.handle(*map(event, range(10)))
        refused = producing.settle_at_last()
        assert producing.context.counts["one_by_one"] == 1
        producing.handle(event(10))
        producing.settle_at_last()

    assert [raw for raw, _ in refused] == [event(3)] and "MSG_SIZE_TOO_LARGE" in refused[0][1]
    assert numbers(cluster, "one", 10) == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10]


def test_what_was_sent_behind_a_refused_request_waits_for_it(tmp_path: Path, cluster: MockCluster) -> None:
    with Producing(tmp_path, cluster, options="linger.ms=0") as producing:
        producing.handle(event(0))
        producing.settle()
        cluster.fail(PRODUCE, INVALID_RECORD)
        # the first is under way alone when the others are added
        producing.handle(*map(event, range(1, 300)))
        assert producing.settle_at_last() == []

    assert numbers(cluster, "one", 300) == list(range(300))


def test_a_message_larger_than_our_own_limit_is_rejected_at_once(tmp_path: Path, cluster: MockCluster) -> None:
    with Producing(tmp_path, cluster, options="message.max.bytes=2000") as producing:
        with pytest.raises(Reject, match="MSG_SIZE_TOO_LARGE"):
            producing.handle(event(0, text="x" * 3000))
        producing.handle(event(1))
        assert producing.settle() == []


def test_a_full_local_queue_holds_back_and_loses_nothing(tmp_path: Path, cluster: MockCluster) -> None:
    options = "queue.buffering.max.messages=10, queue.buffering.max.ms=0"
    with Producing(tmp_path, cluster, options=options, timeout="300ms") as producing:
        cluster.down()
        with pytest.raises(Unavailable, match="queue is full"):
            producing.handle(*map(event, range(20)))
        assert [code for code, _ in producing.context.reports] == ["kafka_away"]

        cluster.up()

        producing.settle_at_last()
        producing.handle(*map(event, range(10, 40)))
        producing.settle_at_last()
    assert numbers(cluster, "one", 40) == list(range(40))


def test_a_topic_that_must_not_be_written_holds_the_line_until_it_may(tmp_path: Path, cluster: MockCluster) -> None:
    with Producing(tmp_path, cluster, timeout="1s") as producing:
        cluster.refuse("one", TOPIC_FORBIDDEN)
        producing.handle(event(0), event(1))
        with pytest.raises(Unavailable, match="TOPIC_AUTHORIZATION_FAILED"):
            producing.settle()

        cluster.refuse("one", 0)

        assert producing.settle_at_last() == []
    assert numbers(cluster, "one", 2) == [0, 1]


def test_where_the_topic_varies_a_forbidden_one_stops_no_other(tmp_path: Path, cluster: MockCluster) -> None:
    cluster.refuse("secret", TOPIC_FORBIDDEN)
    with Producing(tmp_path, cluster, topic="{stream}") as producing:
        forbidden = event(1).replace(b"sample", b"secret")
        producing.handle(event(0), forbidden, event(2))
        refused = producing.settle_at_last()

    assert [raw for raw, _ in refused] == [forbidden]
    assert sorted(numbers(cluster, "sample", 2)) == [0, 2]


def test_while_nothing_comes_a_lost_cluster_is_reported_and_its_return_seen(
    tmp_path: Path, cluster: MockCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aggregator.streams.kafkadelivery.LOOK_S", 0.1)
    with Producing(tmp_path, cluster) as producing:
        producing.handle(event(0))
        producing.settle()

        def reported() -> bool:
            list(producing.stage.idle(0.0))
            return bool(producing.context.reports)

        cluster.down()
        wait_until(reported)
        cluster.up()
        wait_until(lambda: not reported())


def test_a_worker_that_is_to_end_waits_for_reports_only_briefly_and_sends_nothing_later(
    tmp_path: Path, cluster: MockCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aggregator.streams.kafkadelivery.STOPPING_S", 0.2)
    with Producing(tmp_path, cluster, timeout="60s") as producing:
        producing.handle(event(0))
        producing.settle()
        cluster.down()
        producing.handle(event(1))
        producing.context.stopping = True
        with pytest.raises(Unavailable):
            producing.settle()
    cluster.up()

    with Producing(tmp_path, cluster) as producing:
        producing.handle(event(2))
        producing.settle()
    assert numbers(cluster, "one", 2) == [0, 2]


@pytest.mark.parametrize(
    ("changed", "option", "words"),
    [
        ({"options": "acks=1"}, "options", "promises"),
        ({"options": "message.timeout.ms=5"}, "options", "promises"),
        ({"options": "sasl.password=x"}, "options", "secret"),
        ({"options": "bootstrap.servers=x"}, "options", "use brokers"),
        ({"username": "me"}, "password", "missing"),
        ({"ca_file": "a.pem"}, "ca_file", "tls = yes"),
        ({"tls": "yes", "client_cert": "a.pem"}, "client_key", "missing"),
        ({"topic": "a b"}, "topic", "no name"),
    ],
)
def test_options_that_do_not_fit_are_refused(changed: dict[str, str], option: str, words: str) -> None:
    settings, faults = parse_settings(Kafka.Settings, {"listento": "in", "brokers": "h", "topic": "t", **changed})
    assert not faults

    [(found, text)] = Kafka.check(settings, Context(section="w", number=0, node="n", root=Path()).config_parser())

    assert found == option and words in text


@pytest.mark.parametrize("brokers", ["", "a:0", "a:65536", "a:b", "http://a:1", "a b"])
def test_a_broker_is_a_host_and_a_port(brokers: str) -> None:
    _, faults = parse_settings(Kafka.Settings, {"listento": "in", "brokers": brokers, "topic": "t"})

    assert [fault.option for fault in faults] == ["brokers"]


def test_without_the_library_the_configuration_is_refused_and_the_worker_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    settings, faults = parse_settings(Kafka.Settings, {"listento": "in", "brokers": "h", "topic": "t"})
    assert not faults
    context = Context(section="worker_kafka", number=0, node="n", root=Path())

    [(_, text)] = Kafka.check(settings, context.config_parser())
    with pytest.raises(ConfigError, match=r"loglines-aggregator\[kafka\]"):
        Kafka(settings, context).start()

    assert "pip install" in text


def test_options_that_librdkafka_does_not_know_are_a_fault_of_the_configuration_and_show_no_password(
    tmp_path: Path, cluster: MockCluster
) -> None:
    with pytest.raises(ConfigError, match=r"no\.such") as refused:
        Producing(tmp_path, cluster, username="me", password="hush-hush", options="no.such=1")

    assert "hush" not in str(refused.value)
