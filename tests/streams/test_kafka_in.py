"""The source `kafka_in` against librdkafka's mock cluster: each record once, from where the queue has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from aggregator.runtime.connection import connect
from aggregator.runtime.contract import Lease
from aggregator.runtime.keys import Keys
from aggregator.runtime.kinds import encode
from aggregator.runtime.lease import Leases
from aggregator.streams.kafkarecord import Shaping
from aggregator.streams.messages import Connection, Event, Gap
from tests.servers import wait_until
from tests.streams.bringing import Bringing
from tests.streams.brokers import MockCluster, write

Start = Callable[..., Bringing]


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    with MockCluster() as cluster:
        cluster.create("one")
        cluster.create("many", 4)
        yield cluster


@pytest.fixture
def start(tmp_path: Path, cluster: MockCluster, redis_url: str, namespace: str) -> Iterator[Start]:
    """Start processes of the source, and end them with the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(
            Bringing(tmp_path, cluster.address, options.pop("url", redis_url), namespace, **options)
        )


def numbered(first: int, last: int) -> list[bytes]:
    return [b'{"n":%d}' % number for number in range(first, last)]


def numbers(messages: list[dict[str, Any]]) -> list[int]:
    return [message["event"]["n"] for message in messages]


def brings(source: Bringing, count: int) -> list[dict[str, Any]]:
    """Turn until there are so many messages in the queue."""
    wait_until(lambda: len(source.turn()) >= count, 60, f"{count} messages")
    return source.messages()


def group_offset(cluster: MockCluster, topic: str = "one", partition: int = 0) -> int:
    """Return the offset that the group has."""
    consumer = Consumer({"bootstrap.servers": cluster.address, "group.id": "g"})
    try:
        return int(consumer.committed([TopicPartition(topic, partition)], timeout=20)[0].offset)
    finally:
        consumer.close()


def test_values_become_messages_by_what_they_are(cluster: MockCluster, start: Start) -> None:
    envelope = b'{"kind":"event","stream":"s","received_ms":5,"event":{"a": 1}}'
    gap = b'{"kind":"gap","stream":"s","from_ms":1,"to_ms":2,"cause":"stall"}'
    write(cluster.address, "one", envelope, gap, b'{"kind":"commit"}', b"caf\xe9 no json", b'{\n "a": 2}', key=b"k1")

    messages = brings(start(), 5)

    assert messages[0] == {"kind": "event", "stream": "s", "received_ms": 5, "event": {"a": 1}}
    assert messages[1]["kind"] == "gap"
    told = [(each["stream"], each["event"], each["text"], each["id"]) for each in messages[2:]]
    assert told == [
        ("one", {"kind": "commit"}, "", "k1"), ("one", None, "caf\\xe9 no json", "k1"), ("one", {"a": 2}, "", "k1"),
    ]  # fmt: skip
    assert all(each["received_ms"] > 1_700_000_000_000 for each in messages[2:])


def test_what_kafka_delivered_comes_back_as_it_was(cluster: MockCluster, start: Start) -> None:
    sent: list[Any] = [
        Event(stream="toots", received_ms=5, event=msgspec.Raw(b'"117"'), type="delete", id="9"),
        Event(stream="toots", received_ms=6, event=msgspec.Raw(b'{"a": 1}'), type="update"),
        Event(stream="toots", received_ms=7, text="no json"),
        Gap(stream="toots", from_ms=1, to_ms=2, cause="stall"),
        Connection(stream="toots", at_ms=8, type="mastodon", url="http://x.org/"),
    ]
    for message in sent:
        topic, key, value, headers, _ = Shaping("one", "none", "here").record(encode(message))
        write(cluster.address, topic, value, key=key, headers=headers)

    assert brings(start(), 5) == [json.loads(encode(message)) for message in sent]


def test_headers_of_others_mean_nothing(cluster: MockCluster, start: Start) -> None:
    theirs = [("type", b"OrderCreated"), ("id", b"7"), ("received_ms", b"5")]
    write(cluster.address, "one", b"1", key=b"k", headers=theirs)
    write(cluster.address, "one", b"2", key=b"k", headers=[("stream", b"s"), ("received_ms", b"9" * 18)])

    first, second = brings(start(), 2)

    assert (first["stream"], first["type"], first["id"]) == ("one", "", "k")
    assert (second["stream"], second["id"]) == ("s", "k")
    assert all(1_700_000_000_000 < each["received_ms"] < 10**15 for each in (first, second))


def test_with_unwrapped_unchanged_objects_go_on_as_they_are(cluster: MockCluster, start: Start) -> None:
    write(cluster.address, "one", b'{"service":"x.org"}', b"[1]")

    messages = brings(start(unwrapped="unchanged", stream="mine"), 2)

    assert messages[0] == {"service": "x.org"} and (messages[1]["stream"], messages[1]["event"]) == ("mine", [1])


def test_after_a_restart_it_goes_on_where_it_was_and_the_group_knows(cluster: MockCluster, start: Start) -> None:
    write(cluster.address, "one", *numbered(0, 30))
    first = start()
    brings(first, 30)
    first.source.stop()
    assert group_offset(cluster) == 30
    write(cluster.address, "one", *numbered(30, 40))

    assert numbers(brings(start(), 40)) == list(range(40))


def test_each_record_enters_once_also_when_the_group_never_learned_of_it(cluster: MockCluster, start: Start) -> None:
    write(cluster.address, "one", *numbered(0, 30))
    first = start()
    first.source._reader._commit = lambda *_, **__: None
    brings(first, 30)
    first.vanish()
    assert group_offset(cluster) < 0
    write(cluster.address, "one", *numbered(30, 40))

    assert numbers(brings(start(), 40)) == list(range(40))


def test_while_it_works_the_group_learns_its_positions(cluster: MockCluster, start: Start) -> None:
    write(cluster.address, "one", *numbered(0, 10))
    source = start()
    brings(source, 10)

    wait_until(lambda: source.turn() and group_offset(cluster) == 10)


def test_another_redis_goes_on_where_the_group_is(
    tmp_path: Path, cluster: MockCluster, start: Start, redis_client: Any
) -> None:
    write(cluster.address, "one", *numbered(0, 30))
    first = start()
    brings(first, 30)
    first.source.stop()
    write(cluster.address, "one", *numbered(30, 35))

    with Bringing(tmp_path, cluster.address, first.client_url, "elsewhere" + tmp_path.name) as other:
        assert numbers(brings(other, 5)) == list(range(30, 35))


def test_two_processes_share_the_partitions_and_bring_each_record_once(cluster: MockCluster, start: Start) -> None:
    sent = 0

    def send() -> None:
        nonlocal sent
        for partition in range(4):
            write(cluster.address, "many", *numbered(sent, sent + 50), partition=partition)
            sent += 50

    send()
    one = start(topics="many")
    brings(one, 200)
    two = start(topics="many", number=1)
    send()

    def shared() -> bool:
        one.turn()
        two.turn()
        return len(one.messages()) >= sent and {one.owned, two.owned} == {2}

    wait_until(shared, 60)
    send()
    wait_until(shared, 60)
    two.vanish()
    send()
    wait_until(lambda: len(one.turn()) >= sent, 60, "the other has taken over")

    assert sorted(numbers(one.messages())) == list(range(sent))


def test_records_of_a_process_that_lost_its_lease_do_not_come_in_and_come_again(
    cluster: MockCluster, start: Start, redis_client: Any, namespace: str
) -> None:
    source = start(topics="many")
    for partition in range(4):
        write(cluster.address, "many", *numbered(partition * 100, partition * 100 + 20), partition=partition)
    brings(source, 80)
    [victim] = [lease for lease in source.worker.leases.held if lease.name == "many/2"]

    thief = steal(redis_client, namespace, victim)
    for partition in range(4):
        write(cluster.address, "many", *numbered(partition * 100 + 20, partition * 100 + 40), partition=partition)
    wait_until(lambda: len(source.turn()) >= 140, 60, "the other partitions go on")
    assert max(n for n in numbers(source.messages()) if 200 <= n < 300) == 219
    thief.give(*thief.held)

    assert sorted(numbers(brings(source, 160))) == sorted(p * 100 + n for p in range(4) for n in range(40))


def steal(client: Any, namespace: str, lease: Lease) -> Leases:
    """Take a lease although another has it, as after its time is over."""
    client.hdel(Keys(namespace).leases(lease.pool), lease.name)
    thief = Leases(client, Keys(namespace), "thief:s_0")
    wait_until(lambda: thief.take(lease.pool, [lease.name], 600))
    return thief


def test_while_the_queue_is_full_it_stays_in_the_group_and_loses_nothing(
    cluster: MockCluster, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aggregator.streams.kafkareader.ROOM_S", 0.05)
    source = start(limit=100, options="max.poll.interval.ms=6000, session.timeout.ms=6000, fetch.wait.max.ms=50")
    source.source._inflow._most = 50
    write(cluster.address, "one", *numbered(0, 1000))
    wait_until(lambda: len(source.turn()) >= 100)
    wait_until(lambda: source.source._reader._paused, 20, "it reads no more")
    generation = source.source._reader.generation
    stuck_till = source.context.clock() + 7

    wait_until(lambda: source.turn() and source.context.clock() > stuck_till, 20, "longer than max.poll.interval")

    assert source.source._reader.generation == generation
    found = source.messages()
    while len(found) < 1000:
        source.client.delete(source.key)
        before = len(found)
        wait_until(lambda: len(source.turn()) > 0)
        found += source.messages()
        assert len(found) > before
    assert numbers(found) == list(range(1000))


def test_a_cluster_that_is_away_is_reported_and_waited_for(cluster: MockCluster, start: Start) -> None:
    write(cluster.address, "one", *numbered(0, 5))
    source = start()
    brings(source, 5)
    cluster.down()
    wait_until(lambda: source.turn() and ("kafka_away", "") in source.context.reports, 60)

    cluster.up()
    write(cluster.address, "one", *numbered(5, 10))

    assert numbers(brings(source, 10)) == list(range(10))
    wait_until(lambda: source.turn() and not source.context.reports, 60)


def test_it_ends_soon_while_the_cluster_is_away(cluster: MockCluster, start: Start) -> None:
    write(cluster.address, "one", *numbered(0, 5))
    source = start()
    brings(source, 5)
    cluster.down()
    wait_until(lambda: source.turn() and ("kafka_away", "") in source.context.reports, 60)
    began = source.context.clock()

    source.source.stop()

    assert source.context.clock() - began < 15
    cluster.up()


def test_records_that_the_cluster_deleted_are_a_loss_that_is_reported(cluster: MockCluster, start: Start) -> None:
    write(cluster.address, "one", *numbered(0, 10))
    first = start()
    brings(first, 10)
    first.source.stop()
    write(cluster.address, "one", *numbered(10, 30))
    cluster.trim("one", 0, 25)

    source = start()

    assert numbers(brings(source, 15))[10:] == list(range(25, 30))
    report = source.context.reports["kafka_lost", "one/0"]
    assert report.lasting and report.text.startswith("15 records")


def test_from_the_end_means_what_comes_after_the_first_start_also_after_a_restart(
    cluster: MockCluster, start: Start
) -> None:
    write(cluster.address, "one", *numbered(0, 10))
    first = start(from_="end")
    wait_until(lambda: first.turn() or first.stored(), 30, "the position is stored")
    first.vanish()
    write(cluster.address, "one", *numbered(10, 20))

    assert numbers(brings(start(from_="end"), 10)) == list(range(10, 20))


def test_a_redis_that_came_back_older_gets_the_records_again(
    cluster: MockCluster, start: Start, redis_url: str, namespace: str
) -> None:
    write(cluster.address, "one", *numbered(0, 10))
    first = start()
    brings(first, 10)
    first.source.stop()
    with connect(redis_url) as client:
        [key] = client.scan_iter(f"{{{namespace}}}:leased:*")
        client.hset(key, "next", 4)
        client.delete(first.key)

    assert numbers(brings(start(), 6)) == list(range(4, 10))


def test_a_consumer_that_stops_for_good_is_made_anew_and_loses_nothing(cluster: MockCluster, start: Start) -> None:
    write(cluster.address, "one", *numbered(0, 50))
    source = start(batch="7")
    wait_until(lambda: len(source.turn()) >= 7)
    reader = source.source._reader

    def stops(_: object) -> None:
        raise KafkaException(KafkaError(KafkaError._FATAL))

    reader._turn = stops
    write(cluster.address, "one", *numbered(50, 80))

    assert numbers(brings(source, 80)) == list(range(80))
    assert source.source._reader is not reader and source.source._reader.generation > reader.generation


def test_partitions_that_the_group_took_away_without_asking_come_back_and_lose_nothing(
    cluster: MockCluster, start: Start
) -> None:
    source = start()
    write(cluster.address, "one", *numbered(0, 20))
    brings(source, 20)
    reader = source.source._reader
    turn = reader._turn

    def loses(inflow: Any) -> None:
        # in the reader's own thread: the consumer is no other's
        reader._turn = turn
        reader._on_lost(reader._consumer, [])
        reader._on_assign(reader._consumer, [TopicPartition("one", 0)])

    reader._turn = loses
    write(cluster.address, "one", *numbered(20, 40))

    assert numbers(brings(source, 40)) == list(range(40))
