"""Kafka end to end: a real broker that is started anew, and real workers that are killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aggregator.runtime.keys import Keys
from aggregator.runtime.ledger import Account, read_account
from tests.processes import PROJECT
from tests.servers import wait_until
from tests.streams.brokers import Tansu, read_all

Start = Callable[..., subprocess.Popen[bytes]]
KEYS = 7
EVENTS = 3000
IN = {"pushto": "out", "group": "g", "options": "session.timeout.ms=6000, heartbeat.interval.ms=500"}


@pytest.fixture
def tansu(tmp_path: Path) -> Iterator[Tansu]:
    with Tansu(tmp_path) as tansu:
        tansu.create("events", 3)
        yield tansu


@pytest.fixture
def start(tmp_path: Path, tansu: Tansu, redis_url: str, namespace: str) -> Iterator[Start]:
    """Start workers, and end them with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(stage: str, **options: str) -> subprocess.Popen[bytes]:
        told = {"stage": stage, "root": str(tmp_path), "url": redis_url, "namespace": namespace}
        command = [sys.executable, "-m", "tests.streams.work", json.dumps(told)]
        with open(tmp_path / f"{stage}.log", "ab") as log:
            process = subprocess.Popen(
                [*command, json.dumps({"brokers": tansu.address, **options})], stdout=log, stderr=log, cwd=PROJECT
            )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


class Pipe:
    """The two ends: the queue of `kafka`, and the queue that `kafka_in` fills."""

    def __init__(self, client: Any, namespace: str) -> None:
        self._client, self._keys = client, Keys(namespace)

    def push(self, first: int, last: int) -> None:
        """Push events as a capture does."""
        events = (
            b'{"kind":"event","stream":"s","received_ms":1800000000000,"event":{"n":%d,"k":"%d"}}' % (n, n % KEYS)
            for n in range(first, last)
        )
        self._client.rpush(self._keys.queue("in"), *events)

    def books(self) -> Account:
        """Return the books of the queue that `kafka` reads."""
        return read_account(self._client, self._keys, "in")

    def brought(self) -> list[int]:
        """Return the numbers of the events that came out."""
        return [json.loads(raw)["event"]["n"] for raw in self._client.lrange(self._keys.queue("out"), 0, -1)]


@pytest.fixture
def pipe(redis_client: Any, namespace: str) -> Pipe:
    return Pipe(redis_client, namespace)


def in_topic(tansu: Tansu) -> list[tuple[int, int]]:
    """Return partition and number of each record."""
    records = read_all(tansu.address, "events", EVENTS)
    return [(record.partition() or 0, json.loads(record.value() or b"")["n"]) for record in records]


def assert_ordered_by_key(records: list[tuple[int, int]]) -> None:
    """Nothing is missing, and what came again did so behind what it had been behind before."""
    assert {number for _, number in records} == set(range(EVENTS))
    for key in range(KEYS):
        its = [number for _, number in records if number % KEYS == key]
        assert list(dict.fromkeys(its)) == list(range(key, EVENTS, KEYS))
        assert len({partition for partition, number in records if number % KEYS == key}) == 1


def test_over_restarts_of_the_broker_in_mid_flow_nothing_is_lost_and_no_key_loses_its_order(
    tansu: Tansu, pipe: Pipe, start: Start
) -> None:
    pipe.push(0, EVENTS)
    start("kafka", listento="in", topic="events", key="k", batch="100", timeout="1s")

    for done in (500, 1200, 1900):
        wait_until(lambda done=done: pipe.books().out >= done, 60)
        tansu.stop()
        tansu.start()

    wait_until(lambda: pipe.books().out == EVENTS, 120, "all are delivered")
    assert pipe.books().balanced and not pipe.books().dead
    assert_ordered_by_key(in_topic(tansu))


def test_over_kills_of_both_workers_each_record_comes_back_exactly_once(tansu: Tansu, pipe: Pipe, start: Start) -> None:
    out = {"listento": "in", "topic": "events", "key": "k", "batch": "50"}
    pipe.push(0, EVENTS)
    producing, reading = start("kafka", **out), start("kafka_in", topics="events", **IN)

    for done in (500, 1500, 2500):
        wait_until(lambda done=done: pipe.books().out >= done, 60)
        producing.kill()
        producing.wait()
        producing = start("kafka", **out)
        wait_until(lambda done=done: len(pipe.brought()) >= done / 2, 60)
        reading.kill()
        reading.wait()
        reading = start("kafka_in", topics="events", **IN)

    wait_until(lambda: pipe.books().out == EVENTS, 120, "all are delivered")
    records = in_topic(tansu)
    wait_until(lambda: len(pipe.brought()) >= len(records), 120, "all came back")

    assert_ordered_by_key(records)
    # what `kafka` had in flight when it was killed may be in the topic twice; what is in the topic comes in once
    assert Counter(pipe.brought()) == Counter(number for _, number in records)
    assert len(records) <= EVENTS + 3 * 50
    reading.terminate()
    producing.terminate()
    assert reading.wait(25) == 0 and producing.wait(25) == 0
